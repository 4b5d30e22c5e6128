package qemu

import (
	"net/netip"
	"slices"
	"testing"

	"holdfast/internal/machine"
)

func TestForwardsAreReadFromQEMUsTable(t *testing.T) {
	// Printed by QEMU 7.2 and libslirp 4.7.
	const table = "Hub -1 (net):\r\n" +
		"  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[HOST_FORWARD]   3       127.0.0.1 40773       10.0.2.15  6379     0     0\r\n" +
		"  UDP[HOST_FORWARD]   9               * 51395       10.0.2.15    53     0     0\r\n"
	want := []machine.Forward{
		{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 40773, GuestPort: 6379, Proto: "tcp"},
		{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: 51395, GuestPort: 53, Proto: "udp"},
	}
	if got := parseUsernet(table); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCommasInPathsDoNotBecomeOptions(t *testing.T) {
	spec := machine.Spec{
		Name: "a,b", Folder: "/x", InitData: []byte{},
		Disk: "/d,read-only=off", Kernel: &machine.Kernel{Image: "/k"}, Memory: 64, CPUs: 1,
	}
	args := arguments(spec, machine.AccelTCG)
	for _, want := range []string{"a,,b", "driver=file,node-name=disk,read-only=on,filename=/d,,read-only=off"} {
		if !slices.Contains(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
}

func TestMissingFirmwareNamesThePackage(t *testing.T) {
	_, err := findFirmware(t.TempDir())
	if missing, ok := err.(*MissingError); !ok || missing.Package != "ovmf" || len(missing.Looked) == 0 {
		t.Errorf("got %v, want one that names ovmf", err)
	}
	if _, err := New(Config{Binary: "/no/qemu"}); err == nil {
		t.Error("a QEMU that does not exist was found")
	}
}
