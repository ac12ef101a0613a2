/*
 * hello.c - the smallest image: says hello, shows a file of its image, and exits with a status.
 */
#include <stdio.h>

int main(int argc, char **argv)
{
	char line[128];
	FILE *f = fopen("/etc/greeting", "r");

	printf("hello, %s\n", argc > 1 ? argv[1] : "nobody");
	if (!f || !fgets(line, sizeof(line), f)) {
		perror("/etc/greeting");
		return 1;
	}
	fputs(line, stdout);
	fclose(f);
	return 0;
}
