"""Events, those who emit them, and the callbacks that are called.

    Emitter ── has ──> Event            a name, and what its callbacks receive
       │                 │
       │ subscriber()    │ on()         Subscriber: registers callbacks, as a decorator too, and removes them
       v                 v
    emit(event, ...) ──> Handler ──> callback(...)
                         when, every, limit, repeat

Callbacks are called in the order of their registration. One that raises keeps nobody else from
being called; the emitter's `Supervisor` deals with its error, and without one it leaves `emit()`.
"""

from amltk.events.emitter import Emitter, Subscriber, Subscribes
from amltk.events.event import Event, events_of
from amltk.events.handler import Handler, Supervisor, callbacks_of_plugin

__all__ = ["Emitter", "Event", "Handler", "Subscriber", "Subscribes", "Supervisor", "callbacks_of_plugin", "events_of"]
