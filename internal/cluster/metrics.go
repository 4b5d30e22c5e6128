package cluster

import (
	"encoding/base64"
	"time"

	"holdfast/internal/cluster/pki"
)

// metrics adds what metrics-server serves with, made anew by every create.
func (f *facts) metrics(keys pki.Keys, now time.Time) error {
	p, err := keys.Cluster.Issue(pki.Subject{Name: "metrics-server", DNS: []string{"metrics-server.kube-system.svc"}}, now, pki.LeafLife)
	text := base64.StdEncoding.EncodeToString
	f.CA, f.Cert, f.Key = text(keys.Cluster.PEM), text(p.Cert), text(p.Key)
	return err
}
