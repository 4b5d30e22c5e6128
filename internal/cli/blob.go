package cli

import "github.com/spf13/cobra"

func (a *app) blobVerbs() *cobra.Command {
	return group("blob", "Name, add, read and describe the registry's blobs, which are IPFS content too",
		a.blobCID(), a.blobAdd(), a.blobCat(), a.blobStat(), a.blobImport())
}
