"""netclients - what clients ask of a server, function by function; each takes a way to connect."""
