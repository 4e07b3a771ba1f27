select * from information_schema.df_settings
