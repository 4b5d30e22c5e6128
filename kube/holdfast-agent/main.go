// Command holdfast-agent is what Holdfast adds to each node; see package agent.
// It is no applet of kube: that file's other components cost memory at rest.
package main

import (
	"os"

	"holdfast/kube/agent"
)

func main() {
	if err := agent.NewCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
