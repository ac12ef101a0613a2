use strict;
use warnings;
my (%count, $lines);
while (my $line = <STDIN>) {
	$lines++;
	$count{lc $_}++ for $line =~ /(\w+)/g;
}
printf "%d lines, %d words\n", $lines, scalar keys %count;
printf "%-8s %d\n", $_, $count{$_} for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
my @sorted = sort { $a <=> $b } map { $_ * 7919 % 101 } 1 .. 50;
print join(",", @sorted[0 .. 9]), "\n";
eval { die { code => 42 } };
print "died with $@->{code}\n";
open my $f, ">", "perl.out" or die "open: $!";
print $f "x" x 1000;
close $f;
print -s "perl.out", " bytes\n";
unlink "perl.out";
print "gone\n" unless -e "perl.out";
opendir my $d, "." or die;
print join(" ", sort grep { !/^\./ } readdir $d), "\n";
local $SIG{ALRM} = sub { print "alarm\n" };
alarm 1;
select undef, undef, undef, 3;
local $SIG{USR1} = sub { print "usr1\n" };
kill USR1 => $$;
print sprintf("%.10f %s %s", atan2(1, 1) * 4, unpack("H*", pack("N", 3735928559)), scalar reverse "perl"), "\n";
warn "to standard error\n";
exit 3;
