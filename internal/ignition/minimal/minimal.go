// Package minimal knows what a machine image without systemd cannot be made to
// do by a config.
//
// It judges a config before anything boots. Nothing that it lets pass is left
// out by the machine: either it is done, or a warning says that nothing looks at
// it.
package minimal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/able"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/units"
)

// An Issue is one thing of a config that the image cannot do.
type Issue struct {
	Path    []any  // of the config: names of JSON and indexes
	Line    int    // of the text that stands there, 0 for none
	Problem string // without any value of the config but names
	Warning bool
}

// A Check judges configs.
type Check struct {
	// Image is the tree of the machine image, nil for one that brings no units.
	Image units.Tree
	Host  units.Host
	// Recipe is the image's, nil where it may be another than Stock.
	Recipe *Recipe
}

// Issues are all that there are, errors first.
func (c Check) Issues(config types.Config) ([]Issue, error) {
	var list []Issue
	for _, check := range []func(types.Config) []Issue{arguments, places, sources, Refused, c.tools, users} {
		list = append(list, check(config)...)
	}
	more, err := c.units(config)
	list = append(list, more...)
	slices.SortStableFunc(list, func(a, b Issue) int { return cmp.Compare(order(a), order(b)) })
	return list, err
}

func order(i Issue) int {
	if i.Warning {
		return 1
	}
	return 0
}

// Refuse is the first error as one of the engine's, nil when there are warnings
// only.
func (c Check) Refuse(config types.Config) error {
	list, err := c.Issues(config)
	if err != nil || len(list) == 0 || list[0].Warning {
		return err
	}
	return ignition.At(errors.New(list[0].Text()), "%s", spec.Path(list[0].Path))
}

// Text is the problem with the line of the text that it stands in.
func (i Issue) Text() string {
	if i.Line == 0 {
		return i.Problem
	}
	return fmt.Sprintf("line %d: %s", i.Line, i.Problem)
}

func at(elements ...any) []any { return elements }

func arguments(c types.Config) []Issue {
	if len(c.KernelArguments.ShouldExist)+len(c.KernelArguments.ShouldNotExist) == 0 {
		return nil
	}
	return []Issue{{Path: at("kernelArguments"), Problem: "the kernel's command line is signed with the machine image: its recipe says what is in it"}}
}

// Refused is what the engine does in no image.
func Refused(c types.Config) (list []Issue) {
	for _, r := range able.Refusals(c) {
		list = append(list, Issue{Path: r.Path, Problem: r.Problem})
	}
	return list
}

// users: what is written for them is right, but nobody can log in.
func users(c types.Config) (list []Issue) {
	for i, u := range c.Passwd.Users {
		if len(u.SSHAuthorizedKeys) > 0 {
			list = append(list, Issue{Path: at("passwd", "users", i, "sshAuthorizedKeys"), Warning: true, Problem: "the keys are written, but there is no SSH server in the machine image"})
		}
		if util.NotEmpty(u.PasswordHash) {
			list = append(list, Issue{Path: at("passwd", "users", i, "passwordHash"), Warning: true, Problem: "the hash is written, but nothing in the machine image asks for a password"})
		}
	}
	return list
}
