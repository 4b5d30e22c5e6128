package platform

import (
	"context"
	"net/http"

	"holdfast/internal/ignition"
)

// gcp reads the instance's attribute user-data (Compute Engine, "View and query
// VM metadata"). An instance without one has an empty config.
func gcp(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
	return served(ctx, ask, c.Metadata+"/computeMetadata/v1/instance/attributes/user-data", http.Header{"Metadata-Flavor": {"Google"}})
}
