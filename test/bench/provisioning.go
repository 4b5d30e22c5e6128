package main

import (
	"fmt"
	"strings"
)

// provisioningText is the part of the page about the Ignition engine, empty
// when it was not measured.
func provisioningText(rows []row) string {
	if len(rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`## Provisioning

The stages of upstream's Ignition engine (2.26.0) and of ours, in turn, on the same configs from the same server on loopback;
a disk is an empty loop device, where upstream waits for devices by a stand-in for systemd. Ratios are medians of pairs, of
the stages' times together and of the most memory that one took.

| what | got | at most | held | runs |
|---|---|---|---|---|
`)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %s | %d |\n", r.What, r.Got, r.Most, r.Held, r.Runs)
	}
	b.WriteString("\n")
	return b.String()
}
