import base64, collections, dataclasses, datetime, decimal, fractions, functools, hashlib, heapq
import itertools, json, math, os, random, re, struct, sys, tempfile, textwrap, zlib

@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 0

print(sys.version_info[:2], sys.argv[1:], os.environ.get("LC_ALL"))
print(json.dumps({"a": [1, 2.5, None, True], "b": {"c": "\u00e9"}}, sort_keys=True))
print(json.loads('{"x": [1, {"y": 2}]}')["x"][1]["y"])
data = open("prose.txt", "rb").read()
for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256"):
    print(name, hashlib.new(name, data).hexdigest()[:32])
print(hashlib.pbkdf2_hmac("sha256", b"pw", b"salt", 1000).hex())
packed = zlib.compress(data, 9)
print(len(packed), zlib.decompress(packed) == data, zlib.crc32(data))
print(decimal.Decimal(1) / decimal.Decimal(7), fractions.Fraction(3, 9))
print(collections.Counter(data.decode().split()).most_common(3))
print(sorted([Point(2, 1), Point(1, 5), Point(1, 2)]))
print(math.factorial(50), math.gcd(1071, 462), f"{math.pi:.15f}")
print(random.Random(42).sample(range(1000), 5))
print(re.sub(r"(\w+) (\w+)", r"\2 \1", "hello world foo bar"))
print(struct.pack("<IhB", 1, -2, 3).hex(), base64.b64encode(b"binary\x00data").decode())
print(datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc).isoformat())
print(list(itertools.islice(itertools.permutations("abc"), 3)), heapq.nsmallest(3, [5, 1, 4, 2]))
print(functools.reduce(lambda a, b: a * b, range(1, 10)))
print(textwrap.fill("the quick brown fox jumps over the lazy dog", 20))
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, "f")
    with open(p, "w") as f:
        f.write("x" * 100000)
    os.rename(p, p + "2")
    print(os.listdir(d), os.stat(p + "2").st_size)
print(os.path.exists(d))
try:
    open("/none/such")
except FileNotFoundError as e:
    print(e.errno, e)
print(sum(i * i for i in range(200000)))
print("to standard error", file=sys.stderr)
sys.exit(4)
