/* usage: storm COUNT WORKERS PROGRAM [ARG...]
 *
 * WORKERS processes start PROGRAM COUNT times in total, one run after the other, as fast as they can. They use vfork, so
 * that the exec dominates and not the copy of this process. Prints wall seconds and CPU seconds, which include the
 * kernel's work for each exec; on a busy machine the CPU seconds are more reliable.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int ended_well(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void work(long count, char **argv)
{
	while (count-- > 0) {
		pid_t pid = vfork();

		if (pid == 0) {
			execve(argv[0], argv, environ);
			_exit(127);
		}
		if (pid < 0)
			fail("vfork");
		if (!ended_well(pid)) {
			fprintf(stderr, "storm: %s failed\n", argv[0]);
			_exit(1);
		}
	}
}

static double seconds(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct timespec start, end;
	struct rusage usage;
	long count, workers;
	int good = 1;

	if (argc < 4 || (count = atol(argv[1])) < 1 || (workers = atol(argv[2])) < 1 || workers > 64) {
		fprintf(stderr, "usage: storm COUNT WORKERS PROGRAM [ARG...]\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	pid_t started[64];
	for (long worker = 0; worker < workers; worker++) {
		/* The first workers take the remainder. */
		long share = count / workers + (worker < count % workers);

		started[worker] = fork();
		if (started[worker] < 0)
			fail("fork");
		if (started[worker] == 0) {
			work(share, argv + 3);
			_exit(0);
		}
	}
	for (long worker = 0; worker < workers; worker++)
		good &= ended_well(started[worker]);
	if (!good)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	getrusage(RUSAGE_CHILDREN, &usage);
	printf("%.6f %.6f\n", (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9,
	       seconds(usage.ru_utime) + seconds(usage.ru_stime));
	return 0;
}
