/*
 * test_recipe.c - recipes: what they may say, and the line that names what is wrong.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "builder/spec.h"
#include "test/unit/small_image.h"

TestSuite(recipe, .fini = small_cleanup, .timeout = 60);

static int read_text(const char *text, struct build_spec *s, struct err *e)
{
	memset(s, 0, sizeof(*s));
	memset(e, 0, sizeof(*e));
	return spec_read_recipe(s, small_file("r.yaml", text, strlen(text), 0644), e);
}

Test(recipe, everything)
{
	struct build_spec s;
	struct err e;

	cr_assert(!read_text("name: aes\nentry: /app/aes\nargs: [a, '', \"c d\"]\nenv:\n  A: 1\n  B: ''\n"
			     "workdir: /app\nuser: 1000:100\nports: [80, 65535]\n"
			     "limits: {cores: 2, memory: 64M}\n"
			     "files:\n  - from: prog\n    to: /app/aes\n    mode: 0755\n"
			     "  - {from: /etc/*.conf, to: /etc/}\n", &s, &e), "%s", e.text);
	cr_assert_str_eq(s.name, "aes");
	cr_assert_str_eq(s.entry, "/app/aes");
	cr_assert_eq(s.args.n, 3);
	cr_assert_str_eq(s.args.v[1], "");
	cr_assert_str_eq(s.env.v[0], "A=1");
	cr_assert_str_eq(s.env.v[1], "B=");
	cr_assert_eq(s.ports[1], 65535);
	cr_assert_eq(s.cores, 2);
	cr_assert_eq(s.memory, 64u << 20);
	cr_assert_eq(s.nr_files, 2);
	cr_assert_eq(s.files[0].from[0], '/', "relative to the recipe: %s", s.files[0].from);
	cr_assert_eq(s.files[0].mode, 0755);
	cr_assert_str_eq(s.files[1].to, "/etc/");
	spec_free(&s);
}

Test(recipe, errors_name_the_line)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "empty"},
		{"name: x\n", "no entry"},
		{"entry: /x\nentrypoint: /y\n", "r.yaml:2: entrypoint: unknown key; known are name, entry"},
		{"entry: /x\nname: a\nname: b\n", "r.yaml:3: name: given twice"},
		{"entry: x\n", "r.yaml:1: entry: x: an absolute path"},
		{"entry: /x/../y\n", "r.yaml:1: entry"},
		{"entry: [a]\n", "r.yaml:1: entry: a string is wanted"},
		{"entry: /x\nargs: a\n", "r.yaml:2: args: a list"},
		{"entry: /x\nenv: [A=1]\n", "r.yaml:2: env: a mapping"},
		{"entry: /x\nenv:\n  A=B: 1\n", "r.yaml:3: env: A=B: a name holds no '='"},
		{"entry: /x\nports: [0]\n", "r.yaml:2: ports: 0: a number from 1 to 65535"},
		{"entry: /x\nports: [http]\n", "r.yaml:2: ports: http"},
		{"entry: /x\nports: [65536]\n", "r.yaml:2: ports: 65536"},
		{"entry: /x\nlimits:\n  cpus: 3\n", "r.yaml:3: cpus: unknown key; known are cores, memory"},
		{"entry: /x\nlimits:\n  cores: 65\n", "r.yaml:3: cores: 65"},
		{"entry: /x\nlimits:\n  memory: much\n", "r.yaml:3: memory: much: a size is wanted"},
		{"entry: /x\nfiles:\n  - to: /y\n", "r.yaml:3: files: no `from`"},
		{"entry: /x\nfiles:\n  - from: /y\n    too: /z\n", "r.yaml:4: too: unknown key"},
		{"entry: /x\nfiles:\n  - from: /y\n    mode: 999\n", "r.yaml:4: mode: 999: an octal number"},
		{"entry: /x\nfiles:\n  - from: /y\n    to: z\n", "r.yaml:4: to: z: an absolute path"},
		{"entry: /x\n---\nentry: /y\n", "second document"},
		{"entry: [\n", "r.yaml:"},
		{"entry: /x\n\tname: y\n", "r.yaml:2:"},
		{"- entry\n", "r.yaml:1: recipe: a mapping"},
		{"entry: /x\nname: ''\n", "r.yaml:2: name: empty"},
		{"entry: \"/x\\0y\"\n", "r.yaml:1: entry"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct build_spec s;
		struct err e;

		cr_expect(read_text(bad[i].text, &s, &e), "accepted: %s", bad[i].text);
		cr_expect(strstr(e.text, bad[i].says), "\"%s\" lacks \"%s\"", e.text, bad[i].says);
		spec_free(&s);
	}
}

Test(recipe, sizes)
{
	static const char *const bad[] = {"", "M", "-1", "1X", "1MiBx", "99999999999999999999", "18446744073709551615K"};
	uint64_t v;

	cr_assert(!parse_size("4096", &v) && v == 4096);
	cr_assert(!parse_size("64k", &v) && v == 65536);
	cr_assert(!parse_size("64M", &v) && v == 64u << 20);
	cr_assert(!parse_size("2GiB", &v) && v == 2ull << 30);
	cr_assert(!parse_size("1TB", &v) && v == 1ull << 40);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(parse_size(bad[i], &v), "accepted: %s", bad[i]);
}
