package wiring

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"holdfast/internal/broker/roles"
	"holdfast/internal/follow"
	"holdfast/internal/keys"
)

// BrokerAdmins is where it stands who else administers the broker, if anybody.
func (i Installation) BrokerAdmins() string { return filepath.Join(i.dir, "broker-admins.yaml") }

// followAdmins reads the broker's administrators again when they change: without
// the file there are none any more.
func (i Installation) followAdmins(log *slog.Logger) (*follow.File[*roles.Rules], error) {
	return follow.Open(follow.Config[*roles.Rules]{Log: log, Trust: true, Read: func() (*roles.Rules, []string, error) {
		rules, err := i.Administrators()
		return rules, []string{i.BrokerAdmins()}, err
	}})
}

// Administrators are those beside the installation's own key.
func (i Installation) Administrators() (*roles.Rules, error) {
	rules, err := roles.Load(i.BrokerAdmins())
	if errors.Is(err, fs.ErrNotExist) {
		return &roles.Rules{}, nil
	}
	return rules, err
}

// BrokerAudience is the broker's name in administrators' tokens, and in its own:
// that of its installation's root, which no other has.
func BrokerAudience(ring *keys.Ring) string {
	return brokerName(ring.Pair(keys.Root).Certificate)
}

func brokerName(root *x509.Certificate) string {
	sum := sha256.Sum256(root.Raw)
	return "holdfast:" + hex.EncodeToString(sum[:16])
}
