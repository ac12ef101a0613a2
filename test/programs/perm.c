/* perm.c - permission checks, with the ids of an ordinary user. */
#include "t.h"

#include <sys/fsuid.h>
#include <grp.h>

int main(void)
{
	uid_t r, e, s;
	struct stat st;

	enter_scratch("perm");
	HEAD("as root");
	V(getuid());
	V(geteuid());
	put_file("rootonly", "x");
	R(chmod("rootonly", 0600));
	put_file("readable", "x");
	R(chmod("readable", 0644));
	put_file("theirs", "x");
	R(chown("theirs", 1000, 1000));
	R(chmod("theirs", 0400));
	R(mkdir("open", 0755));
	R(chmod("open", 0777));
	R(mkdir("sticky", 0755));
	R(chmod("sticky", 01777));
	put_file("sticky/root", "x");
	R(mkdir("closed", 0700));
	put_file("closed/x", "x");
	R(mkdir("noexec", 0755));
	R(chmod("noexec", 0744));
	put_file("noexec/x", "x");
	put_file("run", "x");
	R(access("run", X_OK)); /* even root needs one x bit */
	R(chmod("run", 0711));
	R(access("run", X_OK));

	HEAD("as an ordinary user");
	R(setgroups(0, NULL));
	R(getgroups(0, NULL));
	R(setresgid(1000, 1000, 1000));
	R(setresuid(1000, 1000, 1000));
	R(getresuid(&r, &e, &s));
	say("%d %d %d", r, e, s);
	R(setuid(0));
	R(seteuid(0));
	R(setgid(0));
	R(open("rootonly", O_RDONLY));
	R(open("readable", O_WRONLY));
	R(open("readable", O_RDONLY) >= 0);
	R(open("theirs", O_RDONLY) >= 0);
	R(open("theirs", O_WRONLY));
	R(chmod("theirs", 0600));
	R(open("theirs", O_WRONLY) >= 0);
	R(chmod("readable", 0666));
	R(chown("theirs", 0, 0));
	R(open("new", O_WRONLY | O_CREAT, 0644));
	R(open("open/new", O_WRONLY | O_CREAT, 0644) >= 0);
	stat("open/new", &st);
	say("%d %d %o", st.st_uid, st.st_gid, st.st_mode);
	R(unlink("readable"));
	R(unlink("open/new"));
	R(unlink("sticky/root"));
	R(open("closed/x", O_RDONLY));
	R(stat("closed/x", &st));
	R(chdir("closed"));
	R(open("noexec/x", O_RDONLY));
	R(open("noexec", O_RDONLY | O_DIRECTORY) >= 0);
	R(mkdir("sub", 0755));
	R(rename("readable", "r2"));
	R(access("rootonly", R_OK));
	R(access("theirs", R_OK | W_OK));
	R(access("run", X_OK));
	R(access("run", R_OK));
	R(truncate("readable", 0));
	R(utimensat(AT_FDCWD, "readable", NULL, 0));
	R(symlink("x", "open/s"));
	R(umask(0777));
	R(open("open/none", O_RDWR | O_CREAT, 0666) >= 0);
	R(open("open/none", O_RDONLY));
	return 0;
}
