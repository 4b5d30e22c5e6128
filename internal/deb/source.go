package deb

// A Source is an archive root and a suite in it, as apt's sources name them.
type Source struct{ URI, Suite string }
