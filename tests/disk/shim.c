/* A disk that is slow, full or broken, under the files of one folder: what a process writes there takes as long, and fails, as a
 * control file says at that moment.
 *
 * Loaded into the process under test with LD_PRELOAD. ROOMCAST_DISK_FOLDER names the folder, ROOMCAST_DISK_CONTROL the control
 * file: two numbers, how many milliseconds a sync takes, and the error with which every write and sync fails; 0 for none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct fate {
	int sync_ms;
	int error;
};

/* Whether a descriptor is a file of the folder. */
static int is_watched(int file)
{
	const char *folder = getenv("ROOMCAST_DISK_FOLDER");
	char link[64], path[4096];
	if (!folder || file < 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	ssize_t bytes = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
	if (bytes <= 0)
		return 0;
	path[bytes] = 0;
	size_t prefix = strlen(folder);
	return !strncmp(path, folder, prefix) && (path[prefix] == '/' || !path[prefix]);
}

/* What the control file says now. */
static struct fate fate(void)
{
	struct fate fate = {0, 0};
	char text[64];
	const char *control = getenv("ROOMCAST_DISK_CONTROL");
	if (!control)
		return fate;
	int file = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return fate;
	ssize_t bytes = syscall(SYS_read, file, text, sizeof text - 1);
	syscall(SYS_close, file);
	text[bytes > 0 ? bytes : 0] = 0;
	sscanf(text, "%d %d", &fate.sync_ms, &fate.error);
	return fate;
}

static int fails(int file)
{
	int saved = errno;
	int error = is_watched(file) ? fate().error : 0;
	errno = error ? error : saved;
	return error;
}

#define SYNC(function)                                                                              \
	int function(int file)                                                                      \
	{                                                                                           \
		if (is_watched(file)) {                                                             \
			struct fate now = fate();                                                   \
			struct timespec pause = {now.sync_ms / 1000, now.sync_ms % 1000 * 1000000L}; \
			while (nanosleep(&pause, &pause) && errno == EINTR)                         \
				;                                                                   \
			if (now.error) {                                                            \
				errno = now.error;                                                  \
				return -1;                                                          \
			}                                                                           \
		}                                                                                   \
		return NEXT(function)(file);                                                        \
	}
SYNC(fsync)
SYNC(fdatasync)

#define PWRITE(function, place)                                                    \
	ssize_t function(int file, const void *data, size_t bytes, place offset)   \
	{                                                                          \
		return fails(file) ? -1 : NEXT(function)(file, data, bytes, offset); \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int file, const void *data, size_t bytes)
{
	return fails(file) ? -1 : NEXT(write)(file, data, bytes);
}
