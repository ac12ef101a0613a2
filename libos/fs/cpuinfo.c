/*
 * cpuinfo.c - /proc/cpuinfo: the virtual cores, with what the host's cpuid says of its processor.
 */
#include "libos/abi/control.h"
#include "libos/fs/procfs.h"
#include "libos/lib/string.h"
#include "libos/sched/uthread.h"

struct regs {
	u32 eax, ebx, ecx, edx;
};

static struct regs cpuid(u32 leaf, u32 sub)
{
	struct regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(sub));
	return r;
}

/* Names of the bits of one register; "" has no name in /proc/cpuinfo. Bits as in the processor
 * manuals. */
static const char *const leaf1_edx[32] = {
	"fpu",	"vme",	"de",	"pse", "tsc",  "msr", "pae",   "mce", "cx8",	 "apic", "",
	"sep",	"mtrr", "pge",	"mca", "cmov", "pat", "pse36", "pn",  "clflush", "",	 "dts",
	"acpi", "mmx",	"fxsr", "sse", "sse2", "ss",  "ht",    "tm",  "ia64",	 "pbe",
};
static const char *const leaf1_ecx[32] = {
	"pni",	  "pclmulqdq",	"dtes64", "monitor", "ds_cpl",
	"vmx",	  "smx",	"est",	  "tm2",     "ssse3",
	"cid",	  "sdbg",	"fma",	  "cx16",    "xtpr",
	"pdcm",	  "",		"pcid",	  "dca",     "sse4_1",
	"sse4_2", "x2apic",	"movbe",  "popcnt",  "tsc_deadline_timer",
	"aes",	  "xsave",	"",	  "avx",     "f16c",
	"rdrand", "hypervisor",
};
static const char *const ext1_edx[32] = {
	[11] = "syscall", [20] = "nx",	   [22] = "mmxext", [25] = "fxsr_opt",
	[26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm",
};
static const char *const ext1_ecx[32] = {
	"lahf_lm", "cmp_legacy",  "svm",
	"extapic", "cr8_legacy",  "abm",
	"sse4a",   "misalignsse", "3dnowprefetch",
	"osvw",	   "ibs",	  "xop",
	"skinit",  "wdt",	  "",
	"lwp",	   "fma4",	  "tce",
	"",	   "nodeid_msr",  "",
	"tbm",	   "topoext",
};
static const char *const leaf7_ebx[32] = {
	"fsgsbase",   "tsc_adjust", "sgx",	  "bmi1",     "hle",	  "avx2",     "",
	"smep",	      "bmi2",	    "erms",	  "invpcid",  "rtm",	  "cqm",      "",
	"mpx",	      "rdt_a",	    "avx512f",	  "avx512dq", "rdseed",	  "adx",      "smap",
	"avx512ifma", "",	    "clflushopt", "clwb",     "intel_pt", "avx512pf", "avx512er",
	"avx512cd",   "sha_ni",	    "avx512bw",	  "avx512vl",
};
static const char *const leaf7_ecx[32] = {
	"",
	"avx512vbmi",
	"umip",
	"pku",
	"ospke",
	"waitpkg",
	"avx512_vbmi2",
	"",
	"gfni",
	"vaes",
	"vpclmulqdq",
	"avx512_vnni",
	"avx512_bitalg",
	"tme",
	"avx512_vpopcntdq",
	"",
	"la57",
	"",
	"",
	"",
	"",
	"",
	"rdpid",
	"",
	"bus_lock_detect",
	"cldemote",
	"",
	"movdiri",
	"movdir64b",
	"enqcmd",
};
static const char *const leaf7_edx[32] = {
	[2] = "avx512_4vnniw",	     [3] = "avx512_4fmaps", [4] = "fsrm",
	[8] = "avx512_vp2intersect", [10] = "md_clear",	    [14] = "serialize",
	[16] = "tsxldtrk",	     [22] = "amx_bf16",	    [23] = "avx512_fp16",
	[24] = "amx_tile",	     [25] = "amx_int8",	    [28] = "flush_l1d",
	[29] = "arch_capabilities",
};
static const char *const xsave_eax[32] = {"xsaveopt", "xsavec", "xgetbv1", "xsaves"};

static void text_flags(struct text *t, u32 reg, const char *const names[32])
{
	for (u32 k = 0; k < 32; k++)
		if (reg >> k & 1 && names[k] && *names[k])
			text_printf(t, " %s", names[k]);
}

static void text_all_flags(struct text *t, u32 max_leaf, u32 max_ext)
{
	struct regs r1 = cpuid(1, 0), r7 = {0}, e1 = {0}, xs = {0};

	if (max_leaf >= 7)
		r7 = cpuid(7, 0);
	if (max_leaf >= 13)
		xs = cpuid(13, 1);
	if (max_ext >= 0x80000001)
		e1 = cpuid(0x80000001, 0);
	text_flags(t, r1.edx, leaf1_edx);
	text_flags(t, e1.edx, ext1_edx);
	text_printf(t, " constant_tsc rep_good nopl nonstop_tsc cpuid");
	text_flags(t, r1.ecx, leaf1_ecx);
	text_flags(t, e1.ecx, ext1_ecx);
	text_flags(t, r7.ebx, leaf7_ebx);
	text_flags(t, xs.eax, xsave_eax);
	text_flags(t, r7.ecx, leaf7_ecx);
	text_flags(t, r7.edx, leaf7_edx);
}

/* All cores are alike: the text of one, asked of the processor once (cpuid is slow in a virtual
 * machine). */
static void text_common(struct text *t)
{
	u32 khz = ((struct control *)LIBOS_CONTROL_BASE)->boot.tsc_khz, family, model;
	struct regs r0 = cpuid(0, 0), r1 = cpuid(1, 0), e0 = cpuid(0x80000000, 0), e8 = {0};
	char vendor[13] = "", brand[49] = "unknown";

	memcpy(vendor, &r0.ebx, 4);
	memcpy(vendor + 4, &r0.edx, 4);
	memcpy(vendor + 8, &r0.ecx, 4);
	family = r1.eax >> 8 & 15;
	model = r1.eax >> 4 & 15;
	if (family == 6 || family == 15)
		model |= (r1.eax >> 16 & 15) << 4;
	if (family == 15)
		family += r1.eax >> 20 & 255;
	if (e0.eax >= 0x80000004)
		for (u32 k = 0; k < 3; k++) {
			struct regs b = cpuid(0x80000002 + k, 0);

			memcpy(brand + k * 16, &b, 16);
		}
	if (e0.eax >= 0x80000008)
		e8 = cpuid(0x80000008, 0);
	if (!khz && r0.eax >= 0x16)
		khz = cpuid(0x16, 0).eax * 1000;
	if (!khz)
		khz = 2000000;
	text_printf(t,
		    "vendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: "
		    "%s\nstepping\t: %u\n"
		    "microcode\t: 0x1\ncpu MHz\t\t: %u.%03u\ncache size\t: 32768 KB\n",
		    vendor, family, model, brand, r1.eax & 15, khz / 1000, khz % 1000);
	text_printf(t,
		    "siblings\t: %u\ncpu cores\t: %u\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid "
		    "level\t: %u\n"
		    "wp\t\t: yes\nflags\t\t:",
		    nr_kthreads, nr_kthreads, r0.eax);
	text_all_flags(t, r0.eax, e0.eax);
	text_printf(t,
		    "\nbugs\t\t:\nbogomips\t: %u.%02u\nclflush size\t: %u\ncache_alignment\t: 64\n"
		    "address sizes\t: %u bits physical, %u bits virtual\npower management:\n\n",
		    khz * 2 / 1000, khz * 2 / 10 % 100, (r1.ebx >> 8 & 255) * 8,
		    e8.eax ? e8.eax & 255 : 46, e8.eax ? e8.eax >> 8 & 255 : 48);
}

void show_cpuinfo(struct text *t, const struct inode *i)
{
	struct text common = {0};

	text_common(&common);
	for (u32 c = 0; c < nr_kthreads && !common.err; c++) {
		text_printf(t, "processor\t: %u\n", c);
		text_write(t, common.buf, common.len);
	}
	text_free(&common);
}
