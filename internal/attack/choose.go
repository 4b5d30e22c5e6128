package attack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"holdfast/internal/nearest"
)

// A Choice says which attacks to run. The zero value is all of them.
type Choice struct {
	Names  []string // of attacks or groups; empty: all
	NoBoot bool     // leave out those that boot machines
	// Sample, when not 0, is how many of those that boot are taken: the same
	// for the same Seed.
	Sample int
	Seed   uint64
}

// Choose picks from all, in its order.
func (c Choice) Choose(all []Attack) ([]Attack, error) {
	for _, name := range c.Names {
		if !slices.ContainsFunc(all, func(a Attack) bool { return a.is(name) }) {
			return nil, unknown(name, all)
		}
	}
	booted := c.sample(all)
	chosen := slices.DeleteFunc(slices.Clone(all), func(a Attack) bool {
		return !c.named(a) || a.Boots && (c.NoBoot || !booted[a.Name])
	})
	if len(chosen) == 0 { // nothing was held, or was not
		return nil, errors.New("that leaves no attack: all of these boot machines")
	}
	return chosen, nil
}

func (a Attack) is(name string) bool { return a.Name == name || a.Group == name }

func (c Choice) named(a Attack) bool {
	return len(c.Names) == 0 || slices.ContainsFunc(c.Names, a.is)
}

// sample names the attacks with a machine that are taken.
func (c Choice) sample(all []Attack) map[string]bool {
	var names []string
	for _, a := range all {
		if a.Boots && c.named(a) {
			names = append(names, a.Name)
		}
	}
	if c.Sample > 0 && c.Sample < len(names) {
		chance := rand.New(rand.NewPCG(c.Seed, 0))
		chance.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:c.Sample]
	}
	taken := map[string]bool{}
	for _, name := range names {
		taken[name] = true
	}
	return taken
}

func unknown(name string, all []Attack) error {
	have := slices.Values(Groups())
	names := func(yield func(string) bool) {
		for _, a := range all {
			if !yield(a.Name) {
				return
			}
		}
		have(yield)
	}
	return fmt.Errorf("no attack or group is called %.60q%s", name, nearest.Hint(name, names))
}
