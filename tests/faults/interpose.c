/* Fails, signals or kills a process at the n-th system call that changes something below a folder.
 *
 * Loaded with LD_PRELOAD. `faults_arm` starts the count; a forked child inherits it, and shares the count and the
 * description of the last call with its parent. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, KILL, SIGNAL, ERROR, FULL };

static struct {
    long count, at;
    int action, number, armed, full;
    char root[PATH_MAX], last[PATH_MAX + 64];
} *state;

__attribute__((constructor)) static void begin(void) {
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void faults_arm(const char *root, long at, int action, int number) {
    state->count = 0, state->at = at, state->action = action, state->number = number, state->full = 0;
    snprintf(state->root, sizeof state->root, "%s/", root);
    state->last[0] = 0;
    state->armed = 1;
}
void faults_disarm(void) { state->armed = 0; }
long faults_count(void) { return state->count; }
const char *faults_last(void) { return state->last; }

/* Path of a name that may be relative to a descriptor, or of a descriptor where there is no name. */
static void locate(int folder, const char *name, char *path) {
    char link[64];
    ssize_t length;
    if (name && (name[0] == '/' || folder == AT_FDCWD)) {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    if (name && length >= 0) snprintf(path + length, PATH_MAX - length, "/%s", name);
}

/* Counts a call, and returns whether it is to fail; `grows` tells whether it needs room on the disk. */
static int fails(const char *call, int folder, const char *name, int grows) {
    char path[PATH_MAX];
    int saved = errno;
    if (!state || !state->armed) return 0;
    locate(folder, name, path);
    errno = saved;
    if (strncmp(path, state->root, strlen(state->root))) return 0;
    if (state->full && grows) {
        errno = state->number;
        return 1;
    }
    if (__atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST) != state->at) return 0;
    snprintf(state->last, sizeof state->last, "%s %s", call, path + strlen(state->root));
    if (state->action == KILL) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (state->action == SIGNAL) kill(getpid(), state->number);
    if (state->action == FULL) state->full = 1;
    if (state->action == ERROR || (state->action == FULL && grows)) {
        errno = state->number;
        return 1;
    }
    errno = saved;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, parameters, arguments, folder, path, grows)                                                  \
    type name parameters {                                                                                             \
        return fails(#name, folder, path, grows) ? -1 : REAL(name) arguments;                                          \
    }

CALL(int, rename, (const char *a, const char *b), (a, b), AT_FDCWD, b, 1)
CALL(int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), y, b, 1)

/* A file system that cannot exchange names, such as NFS, refuses before it does anything. */
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
    if (getenv("FAULTS_NO_EXCHANGE")) {
        errno = EINVAL;
        return -1;
    }
    return fails("renameat2", y, b, 1) ? -1 : REAL(renameat2)(x, a, y, b, flags);
}

CALL(int, link, (const char *a, const char *b), (a, b), AT_FDCWD, b, 1)
CALL(int, unlink, (const char *a), (a), AT_FDCWD, a, 0)
CALL(int, unlinkat, (int x, const char *a, int f), (x, a, f), x, a, 0)
CALL(int, rmdir, (const char *a), (a), AT_FDCWD, a, 0)
CALL(int, mkdir, (const char *a, mode_t m), (a, m), AT_FDCWD, a, 1)
CALL(int, mkdirat, (int x, const char *a, mode_t m), (x, a, m), x, a, 1)
CALL(int, chmod, (const char *a, mode_t m), (a, m), AT_FDCWD, a, 0)
CALL(int, fchmod, (int x, mode_t m), (x, m), x, NULL, 0)
CALL(int, fsync, (int x), (x), x, NULL, 1)
CALL(int, fdatasync, (int x), (x), x, NULL, 1)
CALL(int, ftruncate64, (int x, off64_t n), (x, n), x, NULL, 0)
CALL(int, ftruncate, (int x, off_t n), (x, n), x, NULL, 0)
CALL(int, flock, (int x, int n), (x, n), x, NULL, 0)
CALL(ssize_t, write, (int x, const void *p, size_t n), (x, p, n), x, NULL, 1)
CALL(ssize_t, pwrite64, (int x, const void *p, size_t n, off64_t o), (x, p, n, o), x, NULL, 1)
CALL(ssize_t, writev, (int x, const struct iovec *v, int n), (x, v, n), x, NULL, 1)

int close(int descriptor) {
    int written = state && state->armed && (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY;
    int failed = written && fails("close", descriptor, NULL, 0), saved = errno;
    int result = REAL(close)(descriptor);
    if (!failed) return result;
    errno = saved;
    return -1;
}

/* Opening to read changes nothing, and is not counted. */
#define OPEN(name, parameters, folder, path, flags, ...)                                                               \
    int name parameters {                                                                                              \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(#name, folder, path, (flags & O_CREAT) != 0)) return -1;          \
        return REAL(name)(__VA_ARGS__, mode);                                                                          \
    }

OPEN(open, (const char *a, int flags, ...), AT_FDCWD, a, flags, a, flags)
OPEN(open64, (const char *a, int flags, ...), AT_FDCWD, a, flags, a, flags)
OPEN(openat, (int x, const char *a, int flags, ...), x, a, flags, x, a, flags)
OPEN(openat64, (int x, const char *a, int flags, ...), x, a, flags, x, a, flags)
