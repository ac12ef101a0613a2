BEGIN { FS = "," }
NR > 1 { total[$3] += $4; n[$3]++ }
END {
	count = asorti(total, order)
	for (i = 1; i <= count; i++)
		printf "%-6s %3d %10.2f\n", order[i], n[order[i]], total[order[i]] / n[order[i]]
	print strftime("%Y-%m-%d", 0, 1), length("hello"), toupper(substr("awk", 2)), gensub(/a/, "b", "g", "banana")
}
