package wiring

import (
	"context"

	"holdfast/internal/api"
	"holdfast/internal/broker/audit"
)

// VerifyAudit checks files of an audit log, the oldest first, or the
// installation's own log against the end that its state has recorded.
// Checkpoints are believed of keys that the installation's root certifies.
func (i Installation) VerifyAudit(ctx context.Context, files []string) (audit.Report, error) {
	ring, err := i.Ring(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	if len(files) > 0 {
		return audit.Verify(files, nil, ring.RootPool())
	}
	kept, err := i.openState(nil)
	if err != nil {
		return audit.Report{}, err
	}
	defer kept.Close()
	var head api.AuditHead // before the files: others may be appending
	if head, err = kept.AuditHead(ctx); err != nil {
		return audit.Report{}, err
	}
	if files, err = audit.Files(i.Broker()); err != nil {
		return audit.Report{}, err
	}
	return audit.Verify(files, &head, ring.RootPool())
}
