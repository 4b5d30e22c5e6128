package provision

import (
	"context"
	"io"
	"log/slog"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/vincent-petithory/dataurl"

	"holdfast/internal/ignition"
)

func (c Command) fetch(_ *slog.Logger) ignition.SettingsFetch {
	return func(_ context.Context, _ types.Ignition, r types.Resource, w io.Writer) error {
		u, err := dataurl.DecodeString(*r.Source)
		if err != nil {
			return err
		}
		_, err = w.Write(u.Data)
		return err
	}
}
