/* usage: storm COUNT WORKERS PROGRAM [ARG...]
 *
 * WORKERS processes start PROGRAM, one run after the other, COUNT times in all, as fast as they can; vfork, so that
 * the price is the exec and not a copy of this program. Prints the seconds that it took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "storm: a program ended with status %#x\n", status);
		_exit(1);
	}
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
		wait_for(pid);
	}
}

int main(int argc, char **argv)
{
	struct timespec start, end;
	long count, workers;

	if (argc < 4 || (count = atol(argv[1])) < 1 || (workers = atol(argv[2])) < 1 || workers > 64) {
		fprintf(stderr, "usage: storm COUNT WORKERS PROGRAM [ARG...]\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	pid_t started[64];
	for (long worker = 0; worker < workers; worker++) {
		/* The first workers take one more where the count does not divide. */
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
		wait_for(started[worker]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.6f\n", (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9);
	return 0;
}
