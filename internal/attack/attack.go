// Package attack breaks the promises of the chain on purpose, and shows who
// refuses.
//
// An attack makes one change that an adversary could make, and runs the real
// parts against it: broker, registry, guest, firmware. It is held only when the
// right part refused it for the right reason, and when the same path without
// the change succeeds, which its control shows: a broken lab refuses
// everything.
package attack

import (
	"context"
	"fmt"
	"slices"
)

// An Attack is one change, and what must refuse it.
type Attack struct {
	Name    string `json:"name"`    // kebab-case; stable
	Group   string `json:"group"`   // one of Groups
	Promise string `json:"promise"` // that it tries to break
	Change  string `json:"change"`  // what the adversary does
	Boots   bool   `json:"boots"`   // a machine, which takes half a minute
	// Want is who must refuse, and words that the reason must have.
	Want Refusal `json:"want"`
	// Control is the same path without the change.
	Control Control `json:"-"`
	// Run makes the attack in lab. Its error says that the lab failed; that
	// nobody refused is a Refusal by Nobody.
	Run func(ctx context.Context, lab *Lab) (Refusal, error) `json:"-"`
}

// A Control must succeed before an attack is believed. It runs once in a lab,
// whatever number of attacks share its name.
type Control struct {
	Name string // what succeeds, "an honest machine is given its key"
	Run  func(ctx context.Context, lab *Lab) error
}

// A Refusal is who refused, and in which words.
type Refusal struct {
	By     By     `json:"by"`
	Reason string `json:"reason"`
}

// By is the part of the chain that refuses.
type By string

// The parts that may refuse. The zero value is nobody: the attack succeeded,
// and the reason says how.
const (
	Nobody   By = ""
	Firmware By = "firmware" // Secure Boot
	Verity   By = "verity"   // the kernel's dm-verity
	Node     By = "node"     // process 1, before it asks anybody
	Broker   By = "broker"   // its verifier or policy
	Guest    By = "guest"    // what pulls, decrypts and unpacks in a machine
	TPM      By = "tpm"      // the device itself
	Maker    By = "image"    // what builds, moves and trusts images on the host
)

// Broke is what Run returns when nobody refused.
func Broke(format string, args ...any) Refusal { return Refusal{Nobody, fmt.Sprintf(format, args...)} }

// Groups are the kinds of attack, in the order of the chain.
func Groups() []string {
	return []string{"image", "firmware", "boot", "disk", "configuration", "evidence", "registry", "secret", "control"}
}

// All lists every attack, group after group.
func All() []Attack {
	all := slices.Concat(trustAttacks(), unpackAttacks(), documentAttacks(), evidenceAttacks(), registryAttacks(), signatureAttacks(), secretAttacks(), bootedAttacks())
	groups := Groups()
	slices.SortStableFunc(all, func(a, b Attack) int {
		return slices.Index(groups, a.Group) - slices.Index(groups, b.Group)
	})
	return all
}
