/*
 * exceptions.cc - C++ exceptions, also out of threads, and a thread that is cancelled in a system
 * call.
 */
#include <cstdio>
#include <exception>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

struct Noisy {
	const char *name;
	~Noisy()
	{
		std::printf("unwound %s\n", name);
	}
};

static int deep(int n)
{
	Noisy noisy{n % 2 ? "odd" : "even"};

	if (!n)
		throw std::runtime_error("pid " + std::string(getpid() > 0 ? "good" : "bad"));
	return deep(n - 1) + 1;
}

static int fds[2];

static void *blocked(void *)
{
	Noisy noisy{"blocked"};
	char c;

	while (read(fds[0], &c, 1) > 0)
		;
	return nullptr;
}

int main()
{
	std::vector<std::thread> threads;
	pthread_t t;
	void *ret;

	try {
		deep(3);
	} catch (const std::exception &e) {
		std::printf("caught %s\n", e.what());
	}
	for (int i = 0; i < 4; i++)
		threads.emplace_back([] {
			try {
				throw 42;
			} catch (int) {
				usleep(100);
			}
		});
	for (auto &thread : threads)
		thread.join();
	if (pipe(fds))
		return 1;
	for (int i = 0; i < 20; i++) {
		pthread_create(&t, nullptr, blocked, nullptr);
		usleep(i * 100);
		pthread_cancel(t);
		pthread_join(t, &ret);
		std::printf("cancelled %d\n", ret == PTHREAD_CANCELED);
	}
	std::fflush(stdout);
	return 7;
}
