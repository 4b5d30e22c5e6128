package cli

import (
	"context"
	"fmt"
	"strings"

	"holdfast/internal/cluster/confidential"
	"holdfast/internal/oci"
	"holdfast/internal/wiring"
)

// A podPlace is where a pod is looked for.
type podPlace struct{ cluster, namespace string }

// releasedToPod says which proofs are those of pod/NAME; nil: subject is none.
func (a *app) releasedToPod(ctx context.Context, in podPlace, subject string) (*wiring.Released, error) {
	name, ok := strings.CutPrefix(subject, "pod/")
	if !ok {
		return nil, nil
	}
	f, err := a.clusters(wiring.Sources{})
	if err != nil {
		return nil, err
	}
	p, err := f.Pod(ctx, in.cluster, in.namespace, name)
	if err != nil {
		return nil, err
	}
	document, ok := p.Annotations[confidential.Annotation]
	if !ok {
		return nil, fmt.Errorf("%s: it is not confidential: nothing is proved of it", subject)
	}
	if p.Phase != "Running" {
		return nil, fmt.Errorf("%s: it is %s, and does not run", subject, p.Phase)
	}
	return &wiring.Released{Configuration: string(oci.SHA256([]byte(document))), Since: p.Started}, nil
}
