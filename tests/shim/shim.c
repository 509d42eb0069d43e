/* Between a program and its files: records what it does to a folder, and makes steps fail, wait or lie.
 *
 * Preloaded (LD_PRELOAD) into the program under test. Everything is told by the environment:
 *
 *   SHIM_DIR    only files under this folder (absolute, no symbolic links) are looked at
 *   SHIM_TRACE  file to which each step is appended once it is done; format: tests/ledger/powercut/lab/trace.rs
 *   SHIM_DIE    n: the process dies (SIGKILL) in place of its n-th step, counted from 1
 *   SHIM_NAMED  part:n: the process dies right after the n-th rename to a path of that part (as below), before
 *               the folder can be synced: the name is there, and not durable
 *   SHIM_FAULT  class:part:n:times:what, several separated by commas: the n-th to (n+times-1)-th step of
 *               a class fails (times 0: for ever). class: write (and create, truncate), sync, rename;
 *               part: what the path must contain ("" for any), or "=" and the whole path; what: ENOSPC, EIO, EROFS, short
 *               (half is written, and told; what is then written in addition fails with ENOSPC) or
 *               lie (a sync does nothing and says it did)
 *   SHIM_FULL   while this file exists, whatever would make a file or a folder grow fails with ENOSPC
 *   SHIM_DELAY  class:part:milliseconds: each such step takes that much longer
 *   SHIM_CLOCK  file with a number of seconds, added to the wall clock; read at each call
 *   SHIM_COUNT  file to which the classes' counts are written (in place) at each step: how far SHIM_FAULT can go
 *
 * A step and its record are made under one lock, so the order in the trace is the order of effects.
 */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, TRUNCATE, WRITE, FSYNC, FDATASYNC, RENAME, UNLINK, MKDIR, RMDIR, ACK, START };
enum { C_WRITE, C_SYNC, C_RENAME, CLASSES };
static const char *const class_names[CLASSES] = { "write", "sync", "rename" };

#define MOST_FAULTS 8
struct rule {
    int class;
    char part[64];
    long first, times, seen;
    int error; /* 0: short, -1: lie */
    int half_told;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX];
static size_t dir_length;
static int trace = -1, counter = -1, clock_file = -1;
static long steps, die_at;
static long counts[CLASSES];
static const char *full_file;
static struct rule faults[MOST_FAULTS], delays[MOST_FAULTS], named;
static int fault_count, delay_count;

#define REAL(result, name, ...)                                                                           \
    static result (*real_##name)(__VA_ARGS__);                                                            \
    __attribute__((constructor)) static void find_##name(void) { real_##name = dlsym(RTLD_NEXT, #name); }

REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)
REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t)
REAL(ssize_t, send, int, const void *, size_t, int)
REAL(int, ftruncate64, int, off64_t)
REAL(int, fallocate64, int, int, off64_t, off64_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, sync_file_range, int, off64_t, off64_t, unsigned)
REAL(int, rename, const char *, const char *)
REAL(int, unlink, const char *)
REAL(int, unlinkat, int, const char *, int)
REAL(int, rmdir, const char *)
REAL(int, mkdir, const char *, mode_t)
REAL(int, clock_gettime, clockid_t, struct timespec *)
static int (*real_openat64)(int, const char *, int, ...);

static void wrong(const char *what) {
    dprintf(2, "shim: %s\n", what);
    abort();
}

/* ---- set-up */

static int class_of(const char *name) {
    for (int i = 0; i < CLASSES; i++)
        if (strcmp(name, class_names[i]) == 0) return i;
    wrong("unknown class");
    return 0;
}

static void read_faults(const char *text) {
    char copy[1024], *rest = copy, *one;
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    while ((one = strsep(&rest, ",")) && *one) {
        struct rule *f = &faults[fault_count++];
        f->class = class_of(strsep(&one, ":"));
        snprintf(f->part, sizeof f->part, "%s", strsep(&one, ":"));
        f->first = atol(strsep(&one, ":"));
        f->times = atol(strsep(&one, ":"));
        f->error = strcmp(one, "EIO") == 0      ? EIO
                   : strcmp(one, "EROFS") == 0  ? EROFS
                   : strcmp(one, "ENOSPC") == 0 ? ENOSPC
                   : strcmp(one, "lie") == 0    ? -1
                                                : 0;
        if (fault_count == MOST_FAULTS) wrong("too many faults");
    }
}

static void read_delay(const char *text) {
    char copy[256], *one = copy;
    if (!text) return;
    snprintf(copy, sizeof copy, "%s", text);
    struct rule *d = &delays[delay_count++];
    d->class = class_of(strsep(&one, ":"));
    snprintf(d->part, sizeof d->part, "%s", strsep(&one, ":"));
    d->times = atol(one);
}

static void read_named(const char *text) {
    char copy[256], *one = copy;
    if (!text) return;
    snprintf(copy, sizeof copy, "%s", text);
    snprintf(named.part, sizeof named.part, "%s", strsep(&one, ":"));
    named.first = one ? atol(one) : 0;
    if (named.first < 1) wrong("SHIM_NAMED is part:n, n from 1");
}

static int matches(const struct rule *rule, const char *path) {
    return rule->part[0] == '=' ? strcmp(path, rule->part + 1) == 0 : strstr(path, rule->part) != NULL;
}

static void record(int op, const char *path, const char *other, uint64_t offset, const struct iovec *data,
                   int parts, uint64_t length);

__attribute__((constructor(65535))) static void start(void) {
    real_openat64 = dlsym(RTLD_NEXT, "openat64");
    const char *where = getenv("SHIM_DIR");
    if (!where) return;
    snprintf(dir, sizeof dir, "%s", where);
    dir_length = strlen(dir);
    const char *path;
    if ((path = getenv("SHIM_TRACE"))) trace = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if ((path = getenv("SHIM_COUNT"))) counter = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if ((path = getenv("SHIM_CLOCK"))) clock_file = open(path, O_RDONLY | O_CLOEXEC);
    if ((path = getenv("SHIM_DIE"))) die_at = atol(path);
    full_file = getenv("SHIM_FULL");
    read_faults(getenv("SHIM_FAULT"));
    read_delay(getenv("SHIM_DELAY"));
    read_named(getenv("SHIM_NAMED"));
    record(START, "", "", 0, NULL, 0, 0);
}

/* ---- paths, as they are now: a file that was renamed is found under its new name */

/* The path below SHIM_DIR, or NULL if it is none of ours. */
static const char *below(const char *path) {
    if (!dir_length || strncmp(path, dir, dir_length) != 0) return NULL;
    if (path[dir_length] == '\0') return "";
    return path[dir_length] == '/' ? path + dir_length + 1 : NULL;
}

static const char *of_fd(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = dir_length ? readlink(link, buffer, PATH_MAX - 1) : -1;
    if (n <= 0) return NULL;
    buffer[n] = '\0';
    static const char deleted[] = " (deleted)";
    size_t tail = sizeof deleted - 1;
    if ((size_t)n > tail && strcmp(buffer + n - tail, deleted) == 0) return NULL;
    return below(buffer);
}

static const char *of_path(int at, const char *path, char *buffer) {
    if (!dir_length) return NULL;
    if (path[0] == '/') return snprintf(buffer, PATH_MAX, "%s", path), below(buffer);
    char base[PATH_MAX];
    ssize_t n;
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        if ((n = readlink(link, base, sizeof base - 1)) <= 0) return NULL;
        base[n] = '\0';
    }
    if ((size_t)snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
    return below(buffer);
}

/* ---- the trace */

static void record(int op, const char *path, const char *other, uint64_t offset, const struct iovec *data,
                   int parts, uint64_t length) {
    if (trace < 0) return;
    unsigned char head[25];
    uint32_t n = strlen(path), m = strlen(other);
    head[0] = op;
    memcpy(head + 1, &n, 4);
    memcpy(head + 5, &m, 4);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 8);
    struct iovec all[64] = { { head, sizeof head }, { (void *)path, n }, { (void *)other, m } };
    int used = 3;
    for (uint64_t left = length; left > 0 && used < 64; data++, parts--) {
        if (parts == 0) wrong("a write of more than its parts");
        all[used] = *data;
        if (all[used].iov_len > left) all[used].iov_len = left;
        left -= all[used++].iov_len;
    }
    size_t whole = sizeof head + n + m + length;
    if (syscall(SYS_writev, trace, all, used) != (ssize_t)whole) wrong("the trace cannot be written");
}

/* ---- faults */

/* To be called under the lock, before a step. 0: do it. -1: errno says how it fails. 1: do half, or
 * do nothing and say it is done. */
static int before(int class, const char *path) {
    if (++steps == die_at) kill(getpid(), SIGKILL);
    counts[class]++;
    if (counter >= 0) {
        char text[128];
        int n = snprintf(text, sizeof text, "%ld %ld %ld\n", counts[0], counts[1], counts[2]);
        syscall(SYS_pwrite64, counter, text, n, 0L);
    }
    for (int i = 0; i < fault_count; i++) {
        struct rule *f = &faults[i];
        if (f->class != class || !matches(f, path)) continue;
        f->seen++;
        if (f->seen < f->first || (f->times && f->seen >= f->first + f->times)) continue;
        if (f->error == 0 && class == C_WRITE && !f->half_told) {
            f->half_told = 1;
            f->first++; /* the rest of it is what fails */
            f->times += f->times == 0;
            return 1;
        }
        if (f->error == -1) return 1;
        errno = f->error ? f->error : ENOSPC;
        return -1;
    }
    return 0;
}

static int is_full(void) {
    if (!full_file || syscall(SYS_faccessat, AT_FDCWD, full_file, F_OK) != 0) return 0;
    errno = ENOSPC;
    return 1;
}

/* Not under the lock: the others go on. */
static void wait_before(int class, const char *path) {
    for (int i = 0; i < delay_count; i++)
        if (delays[i].class == class && matches(&delays[i], path)) usleep(1000 * delays[i].times);
}

static off64_t size_of(int fd) {
    struct stat64 s;
    return fstat64(fd, &s) == 0 ? s.st_size : 0;
}

/* ---- writing */

static ssize_t write_at(int fd, const char *path, const struct iovec *parts, int n, off64_t at, int positioned) {
    wait_before(C_WRITE, path);
    pthread_mutex_lock(&lock);
    uint64_t wanted = 0;
    for (int i = 0; i < n; i++) wanted += parts[i].iov_len;
    if (!positioned) {
        int flags = fcntl(fd, F_GETFL);
        at = flags & O_APPEND ? size_of(fd) : lseek64(fd, 0, SEEK_CUR);
    }
    int fate = before(C_WRITE, path);
    if (fate == 0 && at + (off64_t)wanted > size_of(fd) && is_full()) fate = -1;
    ssize_t done = -1;
    if (fate == 1) {
        struct iovec half = { parts[0].iov_base, (parts[0].iov_len + 1) / 2 };
        done = positioned ? real_pwritev64(fd, &half, 1, at) : real_writev(fd, &half, 1);
    } else if (fate == 0) {
        done = positioned ? real_pwritev64(fd, parts, n, at) : real_writev(fd, parts, n);
    }
    int error = errno;
    if (done > 0) record(WRITE, path, "", at, parts, n, done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int has(const struct iovec *part, const char *start) {
    return part->iov_len >= strlen(start) && memcmp(part->iov_base, start, strlen(start)) == 0;
}

/* What tells the outside that something is done: `ACK …`, `ERASED …` or `BACKUP …` on standard output, or HTTP
 * 200 and 202. Recorded before it goes out. */
static void acknowledge(int fd, const struct iovec *parts, int n) {
    if (trace < 0 || n == 0) return;
    int said = fd == 1 && (has(parts, "ACK ") || has(parts, "ERASED ") || has(parts, "BACKUP "));
    if (!said && !has(parts, "HTTP/1.1 20")) return;
    uint64_t length = 0;
    for (int i = 0; i < n; i++) length += parts[i].iov_len;
    pthread_mutex_lock(&lock);
    record(ACK, "", "", 0, parts, n, length);
    pthread_mutex_unlock(&lock);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    if (path) return write_at(fd, path, parts, n, 0, 0);
    acknowledge(fd, parts, n);
    return real_writev(fd, parts, n);
}

ssize_t write(int fd, const void *data, size_t length) {
    struct iovec one = { (void *)data, length };
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    if (path) return write_at(fd, path, &one, 1, 0, 0);
    acknowledge(fd, &one, 1);
    return real_write(fd, data, length);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    struct iovec one = { (void *)data, length };
    acknowledge(fd, &one, 1);
    return real_send(fd, data, length, flags);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t at) {
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    return path ? write_at(fd, path, parts, n, at, 1) : real_pwritev64(fd, parts, n, at);
}
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at) { return pwritev64(fd, parts, n, at); }

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    struct iovec one = { (void *)data, length };
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    return path ? write_at(fd, path, &one, 1, at, 1) : real_pwrite64(fd, data, length, at);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return pwrite64(fd, data, length, at); }

int ftruncate64(int fd, off64_t size) {
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    if (!path) return real_ftruncate64(fd, size);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (before(C_WRITE, path) == 0 && !(size > size_of(fd) && is_full())) done = real_ftruncate64(fd, size);
    int error = errno;
    if (done == 0) record(TRUNCATE, path, "", size, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    char buffer[PATH_MAX];
    if (of_fd(fd, buffer)) wrong("fallocate is not modelled yet");
    return real_fallocate64(fd, mode, at, length);
}
int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }

/* ---- syncing */

static int sync_with(int (*real)(int), int op, int fd) {
    char buffer[PATH_MAX];
    const char *path = of_fd(fd, buffer);
    if (!path) return real(fd);
    wait_before(C_SYNC, path);
    pthread_mutex_lock(&lock);
    int fate = before(C_SYNC, path);
    int done = fate == 0 ? real(fd) : fate == 1 ? 0 : -1;
    int error = errno;
    if (done == 0 && fate == 0) record(op, path, "", 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int fd) { return sync_with(real_fsync, FSYNC, fd); }
int fdatasync(int fd) { return sync_with(real_fdatasync, FDATASYNC, fd); }

/* Promises nothing about a power cut (it flushes no disk cache and no metadata): not recorded. */
int sync_file_range(int fd, off64_t at, off64_t length, unsigned flags) {
    return real_sync_file_range(fd, at, length, flags);
}

/* ---- names */

static int open_at(int at, const char *name, int flags, mode_t mode) {
    if (!real_openat64) real_openat64 = dlsym(RTLD_NEXT, "openat64");
    char buffer[PATH_MAX];
    const char *path = of_path(at, name, buffer);
    if (!path || !(flags & (O_CREAT | O_TRUNC))) return real_openat64(at, name, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat64 s;
    int existed = fstatat64(at, name, &s, 0) == 0, fd = -1;
    int creates = !existed && flags & O_CREAT;
    int cuts = existed && flags & O_TRUNC && s.st_size > 0;
    if ((!creates && !cuts) || (before(C_WRITE, path) == 0 && !(creates && is_full())))
        fd = real_openat64(at, name, flags, mode);
    int error = errno;
    if (fd >= 0 && creates) record(CREATE, path, "", 0, NULL, 0, 0);
    if (fd >= 0 && cuts) record(TRUNCATE, path, "", 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

static mode_t mode_of(int flags, va_list more) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}
#define OPENS(name, extra, at)                                                                            \
    int name(extra const char *path, int flags, ...) {                                                    \
        va_list more;                                                                                     \
        va_start(more, flags);                                                                            \
        mode_t mode = mode_of(flags, more);                                                               \
        va_end(more);                                                                                     \
        return open_at(at, path, flags, mode);                                                            \
    }
#define NOTHING
#define FOLDER int folder,
OPENS(open, NOTHING, AT_FDCWD)
OPENS(open64, NOTHING, AT_FDCWD)
OPENS(openat, FOLDER, folder)
OPENS(openat64, FOLDER, folder)
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int rename(const char *from, const char *to) {
    char buffer[PATH_MAX], other[PATH_MAX];
    const char *path = of_path(AT_FDCWD, from, buffer), *target = of_path(AT_FDCWD, to, other);
    if (!path != !target) wrong("a rename into or out of the folder is not modelled");
    if (!path) return real_rename(from, to);
    wait_before(C_RENAME, path);
    pthread_mutex_lock(&lock);
    int done = before(C_RENAME, target) == 0 ? real_rename(from, to) : -1;
    int error = errno;
    if (done == 0) record(RENAME, path, target, 0, NULL, 0, 0);
    /* Under the lock: no other thread takes a step after it, or says that it did. */
    if (done == 0 && named.first && matches(&named, target) && ++named.seen == named.first)
        kill(getpid(), SIGKILL);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int renameat(int a, const char *from, int b, const char *to) {
    if (a != AT_FDCWD || b != AT_FDCWD) wrong("renameat is not modelled yet");
    return rename(from, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    if (flags) wrong("renameat2 is not modelled yet");
    return renameat(a, from, b, to);
}
int link(const char *from, const char *to) {
    (void)from, (void)to, wrong("link is not modelled yet");
    return -1;
}

static int remove_at(int at, const char *name, int flags) {
    char buffer[PATH_MAX];
    const char *path = of_path(at, name, buffer);
    if (!path) return real_unlinkat(at, name, flags);
    pthread_mutex_lock(&lock);
    /* Removing a name is counted with the renames: both change a folder and need no room. */
    int done = before(C_RENAME, path) == 0 ? real_unlinkat(at, name, flags) : -1;
    int error = errno;
    if (done == 0) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, "", 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int unlink(const char *path) { return remove_at(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return remove_at(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return remove_at(at, path, flags); }

int mkdir(const char *name, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = of_path(AT_FDCWD, name, buffer);
    if (!path) return real_mkdir(name, mode);
    pthread_mutex_lock(&lock);
    int done = before(C_WRITE, path) == 0 && !is_full() ? real_mkdir(name, mode) : -1;
    int error = errno;
    if (done == 0) record(MKDIR, path, "", 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

/* ---- the clock */

int clock_gettime(clockid_t which, struct timespec *now) {
    int done = real_clock_gettime ? real_clock_gettime(which, now) : (int)syscall(SYS_clock_gettime, which, now);
    if (done == 0 && clock_file >= 0 && which == CLOCK_REALTIME) {
        char text[32] = { 0 };
        if (syscall(SYS_pread64, clock_file, text, sizeof text - 1, 0L) > 0) now->tv_sec += atol(text);
    }
    return done;
}
