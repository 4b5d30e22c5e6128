package guid

import "testing"

// The EFI system partition's type, as UEFI 2.10, table 5-7 writes it and as
// it lies on disks.
func TestFormOnDisk(t *testing.T) {
	const text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	disk := [16]byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	g, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if g.EFI() != disk || FromEFI(disk) != g || g.String() != text {
		t.Errorf("got %x, %v, %v", g.EFI(), FromEFI(disk), g)
	}
	for _, bad := range []string{"", text[1:], text + "0", "c12a7328xf81f-11d2-ba4b-00a0c93ec93b"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}
