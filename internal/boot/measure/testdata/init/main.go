// Command init is process 1 of the measured boot that tests run: it prints
// the PCRs and the firmware's event log to the console and powers off.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	for _, m := range [][2]string{{"sysfs", "/sys"}, {"securityfs", "/sys/kernel/security"}, {"devtmpfs", "/dev"}, {"proc", "/proc"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			fmt.Println("mount", m[1], err)
		}
	}
	cmdline, _ := os.ReadFile("/proc/cmdline")
	uptime, _ := os.ReadFile("/proc/uptime")
	fmt.Printf("\nCHECK cmdline %s\nCHECK uptime %s\n", strings.TrimSpace(string(cmdline)), strings.Fields(string(uptime))[0])
	for i := range 24 {
		pcr, err := os.ReadFile(fmt.Sprintf("/sys/class/tpm/tpm0/pcr-sha256/%d", i))
		if err != nil {
			fmt.Println("CHECK error", err)
		}
		fmt.Printf("CHECK pcr %d %s\n", i, strings.ToLower(strings.TrimSpace(string(pcr))))
	}
	log, err := os.ReadFile("/sys/kernel/security/tpm0/binary_bios_measurements")
	if err != nil {
		fmt.Println("CHECK error", err)
	}
	fmt.Printf("CHECK log %s\nCHECK done\n", base64.StdEncoding.EncodeToString(log))
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
