package cluster

import (
	"encoding/base64"
	"time"
)

// metrics adds what metrics-server serves with, made anew by every create.
func (f *facts) metrics(keys pki, now time.Time) error {
	p, err := keys.cluster.issue(subject{name: "metrics-server", dns: []string{"metrics-server.kube-system.svc"}}, now, leafLife)
	text := base64.StdEncoding.EncodeToString
	f.CA, f.Cert, f.Key = text(keys.cluster.pem), text(p.cert), text(p.key)
	return err
}
