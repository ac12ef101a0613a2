def century: . / 100 | floor + 1;
[.people[] | {name, century: (.born | century), n: (.tags | length)}] | group_by(.century)
 | map({century: .[0].century, names: map(.name)})
