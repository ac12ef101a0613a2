// except.cc - C++ exceptions through rewritten code: nested, rethrown, across threads, with destructors.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

static int destroyed;

struct Guard {
	~Guard() { destroyed++; }
};

struct Base {
	virtual ~Base() = default;
};
struct Derived : Base {
	int value = 42;
};

struct Custom : std::runtime_error {
	int depth;
	Custom(int d) : std::runtime_error("custom"), depth(d) {}
};

static int sink(int n)
{
	Guard g;
	if (n == 0)
		throw Custom(7);
	return sink(n - 1) + 1;
}

// Throws while system calls are on the way: the unwinder crosses libc frames (qsort) too.
static int compare(const void *a, const void *b)
{
	(void)!write(2, "", 0);
	if (*(const int *)a == 3 || *(const int *)b == 3)
		throw std::out_of_range("compared 3");
	return *(const int *)a - *(const int *)b;
}

static std::string nested(const std::exception &e)
{
	std::string s = e.what();
	try {
		std::rethrow_if_nested(e);
	} catch (const std::exception &inner) {
		s += " <- " + nested(inner);
	}
	return s;
}

int main()
{
	try {
		sink(100);
	} catch (const Custom &e) {
		std::cout << "caught " << e.what() << ' ' << e.depth << " destroyed " << destroyed << '\n';
	}
	try {
		try {
			throw std::invalid_argument("inner");
		} catch (...) {
			std::throw_with_nested(std::logic_error("outer"));
		}
	} catch (const std::exception &e) {
		std::cout << nested(e) << '\n';
	}
	int values[] = { 5, 3, 9, 1 };
	try {
		qsort(values, 4, sizeof(int), compare);
	} catch (const std::out_of_range &e) {
		std::cout << "through qsort: " << e.what() << '\n';
	}
	std::unique_ptr<Base> p = std::make_unique<Derived>();
	std::cout << "dynamic_cast " << dynamic_cast<Derived &>(*p).value << '\n';
	try {
		(void)std::vector<int>().at(1);
	} catch (const std::exception &) {
		std::cout << "vector range\n";
	}

	std::vector<std::thread> threads;
	std::atomic<int> caught{ 0 };
	for (int i = 0; i < 8; i++)
		threads.emplace_back([&caught, i] {
			for (int k = 0; k < 50; k++)
				try {
					if ((i + k) % 2)
						throw i;
					sink(5);
				} catch (int) {
					caught++;
				} catch (const Custom &) {
					caught++;
				}
		});
	for (auto &t : threads)
		t.join();
	std::cout << "threads caught " << caught << '\n';

	auto f = std::async(std::launch::async, [] { return sink(3); });
	try {
		f.get();
	} catch (const Custom &e) {
		std::cout << "from a future: " << e.depth << '\n';
	}
	std::mutex m;
	std::condition_variable cv;
	bool ready = false;
	std::thread t([&] {
		std::this_thread::sleep_for(std::chrono::milliseconds(5));
		std::lock_guard<std::mutex> l(m);
		ready = true;
		cv.notify_one();
	});
	{
		std::unique_lock<std::mutex> l(m);
		std::cout << "condition " << cv.wait_for(l, std::chrono::seconds(5), [&] { return ready; }) << '\n';
	}
	t.join();
	std::map<std::string, int> words;
	std::istringstream text("a b a c b a");
	for (std::string w; text >> w;)
		words[w]++;
	for (auto &[w, n] : words)
		std::cout << w << '=' << n << ' ';
	std::cout << std::endl;
	std::set_terminate([] {
		std::cerr << "terminate called" << std::endl;
		_exit(9);
	});
	throw std::runtime_error("not caught");
}
