package platform

import (
	"bytes"
	"context"
	"errors"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
)

// gcp reads the instance's attribute user-data (Compute Engine, "View and query
// VM metadata"). An instance without one has an empty config.
func gcp(ctx context.Context, c Config, get ignition.Fetch) ([]byte, error) {
	base := c.GCP
	if base == "" {
		base = "http://169.254.169.254"
	}
	source, flavor := base+"/computeMetadata/v1/instance/attributes/user-data", "Google"
	var b bytes.Buffer
	err := get(ctx, types.Resource{Source: &source, HTTPHeaders: types.HTTPHeaders{{Name: "Metadata-Flavor", Value: &flavor}}}, &b)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, nil
	}
	return b.Bytes(), err
}
