"""Events, emitters of events, and callbacks.

    Emitter ── has ──> Event            a name, and what its callbacks receive
       │                 │
       │ subscriber()    │ on()         Subscriber: registers callbacks, as a decorator too, and removes them
       v                 v
    emit(event, ...) ──> Handler ──> callback(...)
                         when, every, limit, repeat

Callbacks are called in the order of their registration. If one raises, the others are still
called; the emitter's `Supervisor` handles the error, or else `emit()` raises it.
"""

from amltk.events.emitter import Emitter, Subscriber, Subscribes
from amltk.events.event import Event, events_of
from amltk.events.handler import Handler, Supervisor, callbacks_of_plugin

__all__ = ["Emitter", "Event", "Handler", "Subscriber", "Subscribes", "Supervisor", "callbacks_of_plugin", "events_of"]
