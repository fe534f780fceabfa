/* Stands between a program and its C library: counts file operations below a folder and, at a chosen one, lets it fail,
 * writes half of it, or kills the process; or logs all that reach the disk. `shim.py` compiles and commands it, and says
 * what it does not reach.
 *
 *     cc -shared -fPIC -O1 -o shim.so shim.c -ldl
 *
 * Which file a descriptor is, is asked of the system each time: it knows of renames, copies and what was opened before.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The bits of a mask; shim.py has the same names in the same order. */
enum operation {
    OPEN, CREATE, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, MKDIR, RMDIR, READ, MMAP, STAT, FSTAT, LOCK, LIST, OPERATIONS
};
static const char *const names[OPERATIONS] = {
    "open", "create", "write", "sync", "rename", "unlink", "truncate", "mkdir", "rmdir", "read", "mmap", "stat", "fstat",
    "lock", "list",
};

enum mode { COUNT, FAIL, STICKY, KILL, SHORT };
enum verdict { GO_ON, REFUSE, HALVE };

/* In memory that a parent shares with its children, so that it can ask what became of them. */
struct shared {
    volatile long count;  /* operations since `shim_arm` */
    volatile long marks;  /* calls of `shim_mark` since then */
    char hit[2 * PATH_MAX]; /* the operation that was chosen, and its file; empty until it came */
};

static struct shared *shared;
static volatile int armed;
static int mode, error_number;
static unsigned mask, failing_mask;
static long target;
static char prefix[PATH_MAX];
static size_t prefix_length;
static int log_fd = -1;
static pthread_mutex_t logging = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) abort();
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

void shim_arm(int new_mode, long n, int number, unsigned operations, unsigned failing, const char *below) {
    mode = new_mode;
    target = n;
    error_number = number;
    mask = operations;
    failing_mask = failing;
    snprintf(prefix, sizeof prefix, "%s", below);
    prefix_length = strlen(prefix);
    shared->count = shared->marks = 0;
    shared->hit[0] = 0;
    armed = 1;
}

void shim_disarm(void) { armed = 0; }

long shim_count(void) { return shared->count; }

long shim_marks(void) { return shared->marks; }

const char *shim_hit(void) { return shared->hit; }

/* --- what happens at each operation --------------------------------------------------------------------------------- */

static int is_below(const char *path) {
    return !strncmp(path, prefix, prefix_length) && (path[prefix_length] == '/' || path[prefix_length] == 0);
}

static const char *path_of(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, into, PATH_MAX - 1);
    if (length < 0) return "";
    into[length] = 0;
    return into;
}

static const char *resolved(int folder, const char *path, char *into) {
    if (!path) return "";
    if (path[0] == '/') return path;
    char parent[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, parent, sizeof parent) < 0) return "";
    } else if (!*path_of(folder, memset(parent, 0, sizeof parent))) {
        return "";
    }
    int length = snprintf(into, PATH_MAX, "%s/%s", parent, path);
    return length < PATH_MAX ? into : "";
}

static void log_record(const char *what, const char *path, const char *other, unsigned long inode, long long offset,
                       const void *data, size_t length) {
    char head[3 * PATH_MAX];
    int size = snprintf(head, sizeof head, "%s\t%lu\t%s\t%s\t%lld\t%zu\n", what, inode, path, other, offset,
                        data ? length : 0);
    struct iovec parts[2] = {{head, (size_t)size}, {(void *)data, data ? length : 0}};
    pthread_mutex_lock(&logging);
    syscall(SYS_writev, log_fd, parts, 2);
    pthread_mutex_unlock(&logging);
}

static unsigned long inode_of(int fd) {
    struct stat found;
    return syscall(SYS_fstat, fd, &found) < 0 ? 0 : (unsigned long)found.st_ino;
}

static int is_logging(const char *path) { return armed && log_fd >= 0 && is_below(path); }

static enum verdict check(enum operation operation, const char *path) {
    if (!armed || !(mask & 1u << operation) || !is_below(path)) return GO_ON;
    long n = __sync_add_and_fetch(&shared->count, 1);
    if (mode == COUNT) {
        if (log_fd >= 0) log_record("point", names[operation], path, 0, n, NULL, 0);
        return GO_ON;
    }
    if (n != target && !(mode == STICKY && n > target)) return GO_ON;
    /* Threads may take turns otherwise than when it was counted: what comes then does not fail for such a reason. */
    if ((mode == FAIL || mode == STICKY || mode == SHORT) && !(failing_mask & 1u << operation)) return GO_ON;
    if (n == target) snprintf(shared->hit, sizeof shared->hit, "%s %s", names[operation], path);
    if (mode == KILL) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    if (mode == SHORT) return HALVE;
    errno = error_number;
    return REFUSE;
}

static enum verdict check_fd(enum operation operation, int fd) {
    char path[PATH_MAX];
    return armed && mask & 1u << operation ? check(operation, path_of(fd, path)) : GO_ON;
}

static enum verdict check_at(enum operation operation, int folder, const char *path) {
    char whole[PATH_MAX];
    return armed ? check(operation, resolved(folder, path, whole)) : GO_ON;
}

/* Log what happens below the folder from now on, with the bytes that are written; nothing if there is no name. */
int shim_log(const char *file) {
    if (log_fd >= 0) syscall(SYS_close, log_fd);
    log_fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    return !file || log_fd >= 0;
}

/* Count, and log, that the program has said of something that it is done. */
void shim_mark(void) {
    long n = __sync_add_and_fetch(&shared->marks, 1);
    if (log_fd >= 0) log_record("mark", "", "", 0, n, NULL, 0);
}

/* --- the operations ----------------------------------------------------------------------------------------------- */

#define REAL(result, name, ...)                                  \
    static result (*real)(__VA_ARGS__);                          \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

static int open_checked(int folder, const char *path, int flags, mode_t permissions,
                        int (*real)(int, const char *, int, ...)) {
    char whole[PATH_MAX];
    const char *name = armed ? resolved(folder, path, whole) : "";
    int is_new = 0;
    if (armed && is_below(name)) {
        struct stat found;
        is_new = (flags & O_CREAT) && syscall(SYS_newfstatat, AT_FDCWD, name, &found, 0) < 0;
        if (check(is_new ? CREATE : OPEN, name)) return -1;
    }
    int fd = real(folder, path, flags, permissions);
    if (fd >= 0 && is_logging(name)) {
        if (is_new) log_record("create", name, "", inode_of(fd), 0, NULL, 0);
        else if (flags & O_TRUNC) log_record("truncate", name, "", inode_of(fd), 0, NULL, 0);
    }
    return fd;
}

#define OPEN_AT(name)                                                                \
    int name(int folder, const char *path, int flags, ...) {                         \
        REAL(int, openat, int, const char *, int, ...);                              \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t permissions = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                \
        return open_checked(folder, path, flags, permissions, real);                 \
    }
#define OPEN_HERE(name)                                                              \
    int name(const char *path, int flags, ...) {                                     \
        REAL(int, openat, int, const char *, int, ...);                              \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t permissions = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                \
        return open_checked(AT_FDCWD, path, flags, permissions, real);               \
    }
OPEN_AT(openat)
OPEN_AT(openat64)
OPEN_HERE(open)
OPEN_HERE(open64)

static void log_write(int fd, const void *data, ssize_t written, long long offset) {
    char path[PATH_MAX];
    if (armed && log_fd >= 0 && written > 0 && is_below(path_of(fd, path)))
        log_record("write", path, "", inode_of(fd), offset < 0 ? lseek(fd, 0, SEEK_CUR) - written : offset, data,
                   (size_t)written);
}

ssize_t write(int fd, const void *data, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    enum verdict verdict = check_fd(WRITE, fd);
    if (verdict == REFUSE) return -1;
    ssize_t written = real(fd, data, verdict == HALVE && length > 1 ? length / 2 : length);
    log_write(fd, data, written, -1);
    return written;
}

#define PWRITE(name, offset_type)                                                                    \
    ssize_t name(int fd, const void *data, size_t length, offset_type offset) {                      \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);                                 \
        enum verdict verdict = check_fd(WRITE, fd);                                                  \
        if (verdict == REFUSE) return -1;                                                            \
        ssize_t written = real(fd, data, verdict == HALVE && length > 1 ? length / 2 : length, offset); \
        log_write(fd, data, written, offset);                                                        \
        return written;                                                                              \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    enum verdict verdict = check_fd(WRITE, fd);
    if (verdict == REFUSE) return -1;
    ssize_t written = real(fd, parts, verdict == HALVE ? 1 : count);
    if (armed && log_fd >= 0 && written > 0) {
        long long offset = lseek(fd, 0, SEEK_CUR) - written;
        ssize_t left = written;
        for (int i = 0; i < count && left > 0; i++) {
            ssize_t part = (ssize_t)parts[i].iov_len < left ? (ssize_t)parts[i].iov_len : left;
            log_write(fd, parts[i].iov_base, part, offset);
            offset += part;
            left -= part;
        }
    }
    return written;
}

#define CALL_FD(result, failed, name, operation, parameters, arguments, ...) \
    result name parameters {                                               \
        REAL(result, name, __VA_ARGS__);                                   \
        return check_fd(operation, fd) ? failed : real arguments;          \
    }
CALL_FD(ssize_t, -1, read, READ, (int fd, void *into, size_t length), (fd, into, length), int, void *, size_t)
CALL_FD(ssize_t, -1, pread, READ, (int fd, void *into, size_t length, off_t offset), (fd, into, length, offset), int,
        void *, size_t, off_t)
CALL_FD(ssize_t, -1, pread64, READ, (int fd, void *into, size_t length, off64_t offset), (fd, into, length, offset),
        int, void *, size_t, off64_t)
CALL_FD(ssize_t, -1, readv, READ, (int fd, const struct iovec *parts, int count), (fd, parts, count), int,
        const struct iovec *, int)
CALL_FD(int, -1, flock, LOCK, (int fd, int how), (fd, how), int, int)
CALL_FD(int, -1, fstat, FSTAT, (int fd, struct stat *into), (fd, into), int, struct stat *)
CALL_FD(int, -1, fstat64, FSTAT, (int fd, struct stat64 *into), (fd, into), int, struct stat64 *)
CALL_FD(DIR *, NULL, fdopendir, LIST, (int fd), (fd), int)

/* Reading ahead and mapping what is no file go through the same call. */
#define MAP(name, offset_type)                                                                               \
    void *name(void *at, size_t length, int protection, int flags, int fd, offset_type offset) {             \
        REAL(void *, name, void *, size_t, int, int, int, offset_type);                                      \
        if (fd >= 0 && check_fd(MMAP, fd)) return MAP_FAILED;                                                \
        return real(at, length, protection, flags, fd, offset);                                              \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

#define LOCKING(name)                                                                                        \
    int name(int fd, int command, ...) {                                                                     \
        REAL(int, name, int, int, ...);                                                                      \
        va_list rest;                                                                                        \
        va_start(rest, command);                                                                             \
        void *argument = va_arg(rest, void *);                                                               \
        va_end(rest);                                                                                        \
        /* Giving a lock back is not refused, and SQLite would take it for another program's from then on. */ \
        int is_lock = (command == F_SETLK || command == F_SETLKW) && ((struct flock *)argument)->l_type != F_UNLCK; \
        return is_lock && check_fd(LOCK, fd) ? -1 : real(fd, command, argument);                             \
    }
LOCKING(fcntl)
LOCKING(fcntl64)

#define SYNCING(name)                                                          \
    int name(int fd) {                                                         \
        REAL(int, name, int);                                                  \
        if (check_fd(SYNC, fd)) return -1;                                     \
        int result = real(fd);                                                 \
        char path[PATH_MAX];                                                   \
        if (!result && armed && log_fd >= 0 && is_below(path_of(fd, path)))    \
            log_record("sync", path, "", inode_of(fd), 0, NULL, 0);            \
        return result;                                                         \
    }
SYNCING(fsync)
SYNCING(fdatasync)

#define TRUNCATING(name, length_type)                                          \
    int name(int fd, length_type length) {                                     \
        REAL(int, name, int, length_type);                                     \
        if (check_fd(TRUNCATE, fd)) return -1;                                 \
        int result = real(fd, length);                                         \
        char path[PATH_MAX];                                                   \
        if (!result && armed && log_fd >= 0 && is_below(path_of(fd, path)))    \
            log_record("truncate", path, "", inode_of(fd), length, NULL, 0);   \
        return result;                                                         \
    }
TRUNCATING(ftruncate, off_t)
TRUNCATING(ftruncate64, off64_t)

int renameat(int folder, const char *from, int to_folder, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    if (check_at(RENAME, to_folder, to)) return -1;
    int result = real(folder, from, to_folder, to);
    char before[PATH_MAX], after[PATH_MAX];
    if (!result && armed && is_logging(resolved(to_folder, to, after)))
        log_record("rename", resolved(folder, from, before), resolved(to_folder, to, after), 0, 0, NULL, 0);
    return result;
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    int is_folder = flags & AT_REMOVEDIR;
    if (check_at(is_folder ? RMDIR : UNLINK, folder, path)) return -1;
    int result = real(folder, path, flags);
    char whole[PATH_MAX];
    if (!result && armed && is_logging(resolved(folder, path, whole)))
        log_record(is_folder ? "rmdir" : "unlink", resolved(folder, path, whole), "", 0, 0, NULL, 0);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t permissions) {
    REAL(int, mkdirat, int, const char *, mode_t);
    if (check_at(MKDIR, folder, path)) return -1;
    int result = real(folder, path, permissions);
    char whole[PATH_MAX];
    if (!result && armed && is_logging(resolved(folder, path, whole)))
        log_record("mkdir", resolved(folder, path, whole), "", 0, 0, NULL, 0);
    return result;
}

int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }

#define CALL_PATH(result, failed, name, operation, folder, parameters, arguments, ...) \
    result name parameters {                                                         \
        REAL(result, name, __VA_ARGS__);                                             \
        return check_at(operation, folder, path) ? failed : real arguments;          \
    }
CALL_PATH(int, -1, stat, STAT, AT_FDCWD, (const char *path, struct stat *into), (path, into), const char *,
          struct stat *)
CALL_PATH(int, -1, stat64, STAT, AT_FDCWD, (const char *path, struct stat64 *into), (path, into), const char *,
          struct stat64 *)
CALL_PATH(int, -1, lstat, STAT, AT_FDCWD, (const char *path, struct stat *into), (path, into), const char *,
          struct stat *)
CALL_PATH(int, -1, lstat64, STAT, AT_FDCWD, (const char *path, struct stat64 *into), (path, into), const char *,
          struct stat64 *)
CALL_PATH(int, -1, fstatat, STAT, folder, (int folder, const char *path, struct stat *into, int flags),
          (folder, path, into, flags), int, const char *, struct stat *, int)
CALL_PATH(int, -1, fstatat64, STAT, folder, (int folder, const char *path, struct stat64 *into, int flags),
          (folder, path, into, flags), int, const char *, struct stat64 *, int)
CALL_PATH(DIR *, NULL, opendir, LIST, AT_FDCWD, (const char *path), (path), const char *)
