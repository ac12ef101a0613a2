// cxx-exceptions: throws through frames, threads and library code, and counts what arrives.
#include <algorithm>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>

static int depth(int n)
{
	if (n == 0)
		throw std::runtime_error("bottom");
	return depth(n - 1) + 1;
}

int main()
{
	int caught = 0;
	std::vector<std::thread> threads;
	std::vector<int> counts(4);

	for (int i = 0; i < 1000; i++) {
		try {
			depth(i % 50);
		} catch (const std::exception &e) {
			caught++;
		}
	}
	for (int t = 0; t < 4; t++)
		threads.emplace_back([t, &counts] {
			for (int i = 0; i < 100; i++)
				try {
					std::vector<int> v{3, 1, 2};
					std::sort(v.begin(), v.end(), [](int a, int b) {
						if (a + b == 3)
							throw a;
						return a < b;
					});
				} catch (int) {
					counts[t]++;
				}
		});
	for (auto &t : threads)
		t.join();
	std::cout << "caught " << caught << " and " << counts[0] + counts[1] + counts[2] + counts[3] << "\n";
	try {
		std::cout << std::stoi("no number") << "\n";
	} catch (const std::invalid_argument &e) {
		std::cout << "invalid argument: " << e.what() << "\n";
	}
}
