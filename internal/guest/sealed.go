package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/enc/sealed"
)

// errNoBroker says that a sealed secret stands where nobody can open it.
var errNoBroker = errors.New("is a sealed secret, but there is no broker to ask")

// variables are the workload's, by name: the configuration's replace the image's.
func (g *guest) variables() map[string]string {
	all := map[string]string{}
	for _, list := range [][]string{g.image.config.Config.Env, g.Guest.Process.Env} {
		for _, v := range list {
			name, value, _ := strings.Cut(v, "=")
			all[name] = value
		}
	}
	return all
}

// unsealVariables gives the values of variables that are sealed secrets, by
// name, as kata-agent does for a container's process.
func (g *guest) unsealVariables(ctx context.Context) (map[string]string, error) {
	open := map[string]string{}
	for name, value := range g.variables() {
		if !sealed.Is(value) {
			continue
		}
		secret, err := g.unseal(ctx, value)
		if err == nil && strings.ContainsRune(string(secret), 0) {
			err = errors.New("the secret has a zero byte, which no variable can hold")
		}
		if err != nil {
			return nil, fmt.Errorf("variable %.80s: %w", name, err)
		}
		open[name] = string(secret)
	}
	return open, nil
}

func (g *guest) unseal(ctx context.Context, text string) ([]byte, error) {
	if g.Broker == nil {
		return nil, errNoBroker
	}
	return sealed.Unseal(ctx, text, g.Broker.Resource)
}
