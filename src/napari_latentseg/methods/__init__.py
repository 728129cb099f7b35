"""One file a paper, each a short composition of codecs, networks and a process."""
