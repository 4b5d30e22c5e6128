package cli

import (
	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// evidenceFlags are the words of serve about what its broker believes.
func evidenceFlags(c *cobra.Command, e *wiring.EvidenceConfig) {
	c.Flags().StringVar(&e.Collateral, "collateral", "", "folder of what makers of processors publish: TDX TCB info and enclave identity (JSON), their signers (PEM), lists of revoked certificates, vcek/CHIP/vcek.der")
	c.Flags().BoolVar(&e.AcceptSample, "accept-sample-evidence-for-tests", false, "FOR TESTS: take evidence of the kind sample, which anybody can make and which proves nothing")
}
