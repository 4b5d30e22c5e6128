package provision

import (
	"context"
	"errors"
	"io"

	"github.com/coreos/ignition/v2/config"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/vincent-petithory/dataurl"

	"holdfast/internal/ignition"
)

func load(name string, raw []byte) (types.Config, error) {
	c, report, err := config.Parse(raw)
	if err != nil {
		return c, errors.Join(err, errors.New(report.String()))
	}
	return c, nil
}

func render(_ context.Context, _ string, c types.Config, _ ignition.SettingsFetch) (types.Config, []string, error) {
	return c, nil, nil
}

func fetch(_ context.Context, _ types.Ignition, r types.Resource, w io.Writer) error {
	u, err := dataurl.DecodeString(*r.Source)
	if err != nil {
		return err
	}
	_, err = w.Write(u.Data)
	return err
}
