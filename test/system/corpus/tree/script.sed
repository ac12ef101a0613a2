/^#/d
s/\(.*\)an\(.*\)/[\1|\2]/g
y/abc/ABC/
$!N
P
D
