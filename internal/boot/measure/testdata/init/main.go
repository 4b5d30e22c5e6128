// Command init is process 1 of the measured boot that tests run: it prints
// the PCRs and the firmware's event log to the console and powers off.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	mount("sysfs", "/sys")
	mount("securityfs", "/sys/kernel/security")
	load()
	for range 300 { // a driver may still be busy with its device
		if _, err := os.Stat("/sys/class/tpm/tpm0/pcr-sha256/0"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for i := range 24 {
		fmt.Printf("PCR %d %s\n", i, strings.TrimSpace(string(read(fmt.Sprintf("/sys/class/tpm/tpm0/pcr-sha256/%d", i)))))
	}
	fmt.Println("LOG", base64.StdEncoding.EncodeToString(read("/sys/kernel/security/tpm0/binary_bios_measurements")))
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1) // tcdrain(3): what is still to be sent would be lost
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// load takes the modules that an image's initramfs lists.
func load() {
	for path := range strings.FieldsSeq(string(quiet("/lib/modules/order"))) {
		f, err := os.Open(path)
		if err == nil {
			err = unix.FinitModule(int(f.Fd()), "", 0)
		}
		if err != nil {
			fmt.Println(path, err)
		}
	}
}

func quiet(path string) []byte {
	data, _ := os.ReadFile(path)
	return data
}

func mount(kind, dir string) {
	_ = os.MkdirAll(dir, 0o755)
	if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
		fmt.Println("mount", dir, err)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
	}
	return data
}
