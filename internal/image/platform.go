package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
)

// A platform is what machine images of one architecture have of their own.
type platform struct {
	stub         string // where systemd-boot-efi keeps systemd-stub(7)
	bootPath     string // where firmware looks on a disk that it has no entry for: UEFI 2.10, 3.5.1.1
	root, verity guid.GUID
}

// platforms are by Debian's name of the architecture, which is also Go's.
var platforms = map[string]platform{
	"amd64": {"usr/lib/systemd/boot/efi/linuxx64.efi.stub", "EFI/BOOT/BOOTX64.EFI", gpt.TypeRootX86, gpt.TypeVerityX86},
	"arm64": {"usr/lib/systemd/boot/efi/linuxaa64.efi.stub", "EFI/BOOT/BOOTAA64.EFI", gpt.TypeRootARM64, gpt.TypeVerityARM64},
}

func platformOf(architecture string) (platform, error) {
	p, ok := platforms[architecture]
	if !ok {
		known := slices.Sorted(maps.Keys(platforms))
		return p, fmt.Errorf("architecture %s: machine images are built for %s", architecture, strings.Join(known, " and "))
	}
	return p, nil
}
