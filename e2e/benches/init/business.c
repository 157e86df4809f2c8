// The business process of the cases and figures: small and static, so that nothing of its own start is measured, and free to leave
// zombies, daemons and unnamed signals to PID 1. What it finds goes into files, because not every system passes on output.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void pause_ms(int span) { poll(NULL, 0, span); }

// A line for a file, in one write, so that nobody reads half of it.
static void tell(const char *path, long long number) {
    FILE *file = fopen(path, "a");
    if (file) {
        fprintf(file, "%lld\n", number);
        fclose(file);
    }
}

static void stay(void) {
    for (;;) pause();
}

// launch FILE PROGRAM...: the time, then the program in this process's place.
static int launch(char **words) {
    tell(words[0], now());
    execvp(words[1], words + 1);
    perror(words[1]);
    return 127;
}

// orphans COUNT FILE: COUNT zombies come to PID 1 at once; how many nanoseconds until none is left, or -1 after half a minute.
static int orphans(int count, const char *path) {
    size_t size = sizeof(long long) + count * sizeof(pid_t);
    long long *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return 2;
    pid_t *pids = (pid_t *)(start + 1);
    pid_t parent = fork();
    if (parent == 0) {
        for (int at = 0; at < count; at++) {
            pid_t pid = fork();
            if (pid < 0) _exit(2);
            if (pid == 0) _exit(0);
            pids[at] = pid;
        }
        // They have all ended, and stay zombies until somebody else inherits them.
        siginfo_t info;
        for (int at = 0; at < count; at++) waitid(P_PID, pids[at], &info, WEXITED | WNOWAIT);
        *start = now();
        _exit(0);
    }
    int status = 0;
    if (waitpid(parent, &status, 0) < 0 || status != 0) return 2;
    for (int at = 0; at < count; at++) {
        while (kill(pids[at], 0) == 0) {
            if (now() - *start > 30000000000LL) {
                tell(path, -1);
                stay();
            }
        }
    }
    tell(path, now() - *start);
    stay();
    return 0;
}

// signals FILE CODE: 0 once it listens, then every signal that arrives, by its number; SIGTERM ends it with CODE.
static int listen_to_signals(const char *path, int code) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    tell(path, 0);
    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number > 0) tell(path, number);
        if (number == SIGTERM) return code;
    }
}

// daemon FILE SPAN: a daemon in a session of its own, whose parents have ended; its id, as seen here. It ends after SPAN milliseconds.
static int leave_daemon(const char *path, int span) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            tell(path, getpid());
            pause_ms(span);
            _exit(0);
        }
        _exit(0);
    }
    wait(NULL);
    stay();
    return 0;
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 64) < 0) {
        perror("listen");
        exit(2);
    }
    return listener;
}

static volatile sig_atomic_t told_to_stop;

static void stop(int number) { told_to_stop = number; }

static void answer(int client, const char *body) {
    dprintf(client, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s", strlen(body), body);
    shutdown(client, SHUT_WR);
    close(client);
}

// serve PORT GO FILE graceful|abrupt: answers come once GO is there; /in-flight tells at once how many are being worked on. A SIGTERM is
// written down, and then all that was begun is finished; an abrupt one just ends.
static int serve(int port, const char *go, const char *path, int graceful) {
    if (graceful) {
        struct sigaction action = {.sa_handler = stop};
        sigaction(SIGTERM, &action, NULL);
    }
    int listener = listen_on(port), in_flight = 0;
    for (;;) {
        while (in_flight > 0 && waitpid(-1, NULL, WNOHANG) > 0) in_flight--;
        if (told_to_stop && listener >= 0) {
            tell(path, told_to_stop);
            close(listener);
            listener = -1;
        }
        if (told_to_stop && in_flight == 0) return 0;
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (poll(&ready, 1, 5) < 1) continue;
        int client = accept(listener, NULL, NULL);
        char request[1024] = "";
        if (client < 0 || read(client, request, sizeof request - 1) < 1) {
            close(client);
            continue;
        }
        char body[32];
        snprintf(body, sizeof body, "%d", in_flight);
        if (strstr(request, "/in-flight")) {
            answer(client, body);
        } else if (fork() == 0) {
            if (graceful) signal(SIGTERM, SIG_IGN);
            while (access(go, F_OK) != 0) pause_ms(2);
            answer(client, "done");
            _exit(0);
        } else {
            in_flight++;
            close(client);
        }
    }
}

// crash-later PORT FILE: serves, and ends with 4 once FILE is there.
static int crash_later(int port, const char *path) {
    listen_on(port);
    while (access(path, F_OK) != 0) pause_ms(5);
    return 4;
}

// connect PORT: whether somebody accepts there.
static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address) < 0;
}

int main(int count, char **words) {
    if (count < 2) return 2;
    char **rest = words + 2;
    char *mode = words[1];
    int given = count - 2;
#define IS(name, number) (strcmp(mode, name) == 0 && given >= number)
    if (IS("stamp", 1)) {
        tell(rest[0], now());
        stay();
    }
    if (IS("launch", 2)) return launch(rest);
    if (IS("orphans", 2)) return orphans(atoi(rest[0]), rest[1]);
    if (IS("signals", 2)) return listen_to_signals(rest[0], atoi(rest[1]));
    if (IS("daemon", 2)) return leave_daemon(rest[0], atoi(rest[1]));
    if (IS("serve", 4)) return serve(atoi(rest[0]), rest[1], rest[2], strcmp(rest[3], "graceful") == 0);
    if (IS("crash-later", 2)) return crash_later(atoi(rest[0]), rest[1]);
    if (IS("connect", 1)) return connect_to(atoi(rest[0]));
    // exit FILE SPAN CODE: the time of the start, and an end after SPAN milliseconds.
    if (IS("exit", 3)) {
        tell(rest[0], now());
        pause_ms(atoi(rest[1]));
        return atoi(rest[2]);
    }
    // die FILE NUMBER: an end by a signal.
    if (IS("die", 2)) {
        tell(rest[0], now());
        return raise(atoi(rest[1]));
    }
    // stubborn FILE: SIGTERM is ignored.
    if (IS("stubborn", 1)) {
        signal(SIGTERM, SIG_IGN);
        tell(rest[0], now());
        stay();
    }
    return 2;
}
