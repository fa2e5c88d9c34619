/* Writes down, in order, what a process does to the files of one folder: what is written, cut, synced and removed. From this the
 * tests work out what a disk has at least kept when the power goes: everything before a sync of its file, nothing after it.
 *
 * Loaded into the process under test with LD_PRELOAD. ROOMCAST_POWER_FOLDER names the folder, ROOMCAST_POWER_LOG the log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 4096
#define NAME_MAX_BYTES 64

static char names[FILES_MAX][NAME_MAX_BYTES]; /* by descriptor; "." for the folder itself, empty for what is not watched */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A record: what, length of the name, length of the data, offset; name; data. */
struct __attribute__((packed)) record {
	uint8_t what;
	uint8_t name_bytes;
	uint32_t data_bytes;
	uint64_t offset;
};

static void note(char what, const char *name, uint64_t offset, const void *data, size_t bytes)
{
	if (log_file < 0) {
		const char *path = getenv("ROOMCAST_POWER_LOG");
		if (!path)
			abort();
		log_file = NEXT(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (log_file < 0)
			abort();
	}
	struct record record = {(uint8_t)what, (uint8_t)strlen(name), (uint32_t)bytes, offset};
	struct iovec parts[3] = {{&record, sizeof record}, {(void *)name, strlen(name)}, {(void *)data, bytes}};
	if (writev(log_file, parts, 3) != (ssize_t)(sizeof record + strlen(name) + bytes))
		abort(); /* A log with a hole would prove nothing. */
}

/* The name of a path inside the folder; NULL for others. */
static const char *inside(const char *path)
{
	const char *folder = getenv("ROOMCAST_POWER_FOLDER");
	size_t bytes = folder ? strlen(folder) : 0;
	if (!bytes || strncmp(path, folder, bytes))
		return NULL;
	if (!path[bytes] || !strcmp(path + bytes, "/"))
		return ".";
	return path[bytes] == '/' && strlen(path + bytes + 1) < NAME_MAX_BYTES ? path + bytes + 1 : NULL;
}

static const char *watched(int file)
{
	return file >= 0 && file < FILES_MAX && names[file][0] ? names[file] : NULL;
}

static int opened(int file, const char *path, int flags)
{
	const char *name = inside(path);
	if (file >= 0 && file < FILES_MAX && name) {
		strcpy(names[file], name);
		if (flags & O_TRUNC)
			note('t', name, 0, NULL, 0);
	}
	return file;
}

#define OPEN(function)                                                            \
	int function(const char *path, int flags, ...)                            \
	{                                                                         \
		mode_t mode = 0;                                                  \
		if (flags & (O_CREAT | O_TMPFILE)) {                              \
			va_list more;                                             \
			va_start(more, flags);                                    \
			mode = (mode_t)va_arg(more, int);                         \
			va_end(more);                                             \
		}                                                                 \
		pthread_mutex_lock(&order);                                       \
		int file = opened(NEXT(function)(path, flags, mode), path, flags); \
		pthread_mutex_unlock(&order);                                     \
		return file;                                                      \
	}
OPEN(open)
OPEN(open64)

int close(int file)
{
	pthread_mutex_lock(&order);
	if (watched(file))
		names[file][0] = 0;
	pthread_mutex_unlock(&order);
	return NEXT(close)(file);
}

#define PWRITE(function, place)                                                             \
	ssize_t function(int file, const void *data, size_t bytes, place offset)            \
	{                                                                                   \
		pthread_mutex_lock(&order);                                                 \
		ssize_t done = NEXT(function)(file, data, bytes, offset);                   \
		if (done > 0 && watched(file))                                              \
			note('w', watched(file), (uint64_t)offset, data, (size_t)done);     \
		pthread_mutex_unlock(&order);                                               \
		return done;                                                                \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int file, const void *data, size_t bytes)
{
	if (!watched(file))
		return NEXT(write)(file, data, bytes);
	pthread_mutex_lock(&order);
	off_t offset = lseek(file, 0, SEEK_CUR);
	ssize_t done = NEXT(write)(file, data, bytes);
	if (done > 0)
		note('w', watched(file), (uint64_t)offset, data, (size_t)done);
	pthread_mutex_unlock(&order);
	return done;
}

#define TRUNCATE(function, place)                                                \
	int function(int file, place bytes)                                      \
	{                                                                        \
		pthread_mutex_lock(&order);                                      \
		int done = NEXT(function)(file, bytes);                          \
		if (!done && watched(file))                                      \
			note('t', watched(file), (uint64_t)bytes, NULL, 0);      \
		pthread_mutex_unlock(&order);                                    \
		return done;                                                     \
	}
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* What was written down before is on the disk now. The real one is not waited for: the log is the disk. */
#define SYNC(function)                                               \
	int function(int file)                                       \
	{                                                            \
		if (!watched(file))                                  \
			return NEXT(function)(file);                 \
		pthread_mutex_lock(&order);                          \
		note('s', watched(file), 0, NULL, 0);                \
		pthread_mutex_unlock(&order);                        \
		return 0;                                            \
	}
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path)
{
	pthread_mutex_lock(&order);
	int done = NEXT(unlink)(path);
	const char *name = inside(path);
	if (!done && name)
		note('u', name, 0, NULL, 0);
	pthread_mutex_unlock(&order);
	return done;
}
