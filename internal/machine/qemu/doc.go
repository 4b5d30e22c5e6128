// Package qemu runs machines in QEMU.
//
// A machine leaves nothing behind: its streams are socket pairs, not files;
// its process dies with ours, whatever kills us; and what it may touch on the
// host is its folder, a disk it cannot write, and the ports it publishes.
package qemu
