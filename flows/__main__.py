from flows.cli import main

if __name__ == "__main__":  # processes of a Dask cluster import this module again
    main()
