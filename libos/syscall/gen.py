#!/usr/bin/env python3
"""gen.py - makes the system call table in C from table.txt.

usage: gen.py table.txt out.h    (dispatch table, names and argument types; included by table.c)
"""
import sys

NR = 512


def parse(path):
    calls = {}
    for number, line in enumerate(open(path), 1):
        line = line.split('#')[0].split()
        if not line:
            continue
        nr, name, args = int(line[0]), line[1], line[2:]
        if nr in calls or nr >= NR or len(args) > 6:
            sys.exit(f'{path}:{number}: bad or repeated entry')
        calls[nr] = (name, args)
    return calls


def main():
    calls = parse(sys.argv[1])
    with open(sys.argv[2], 'w') as out:
        out.write('/* generated from table.txt by gen.py: do not edit */\n')
        for nr, (name, _) in sorted(calls.items()):
            out.write(f'extern long sys_{name}(u64, u64, u64, u64, u64, u64) __attribute__((weak));\n')
        out.write('\n#define SYSCALL_TABLE_INIT \\\n')
        for nr, (name, _) in sorted(calls.items()):
            out.write(f'\t[{nr}] = sys_{name}, \\\n')
        out.write('\n#define SYSCALL_INFO_INIT \\\n')
        for nr, (name, args) in sorted(calls.items()):
            spec = ' '.join(args)
            out.write(f'\t[{nr}] = {{ "{name}", "{spec}", {len(args)} }}, \\\n')
        out.write('\n')


main()
