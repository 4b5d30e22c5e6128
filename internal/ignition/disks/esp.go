package disks

import "holdfast/internal/boot/gpt"

// IsESP says whether a device is an EFI system partition by its disk's table.
func IsESP(path string) bool {
	e, ok := entryOf(path)
	return ok && e.Type == gpt.TypeESP
}
