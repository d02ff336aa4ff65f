/* Preloaded into a program that can only listen on every address: makes it listen on 127.0.0.1. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    struct sockaddr_in local;
    if (address->sa_family == AF_INET) {
        local = *(const struct sockaddr_in *)address;
        if (local.sin_addr.s_addr == htonl(INADDR_ANY)) {
            local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            address = (const struct sockaddr *)&local;
        }
    }
    return syscall(SYS_bind, socket, address, length);
}
